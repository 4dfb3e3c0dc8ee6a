//! Checks a file's untrusted bytes before they are decoded into messages and before ONNX Runtime reads them. It follows
//! every message of `onnx.proto` that ONNX Runtime reads, also those that other modules keep as bytes.
//!
//! - Two bytes can be an empty attribute, which takes hundreds in memory: the parts of a file are counted.
//! - Graphs can contain graphs: their depth is limited.
//! - A tensor can say that its numbers are in another file, at any path. ONNX Runtime would resolve it from the working
//!   directory, because it receives the model from memory; some of its versions also accept a memory address instead of a
//!   file.
//! - A node can contain an engine that another tool compiled, or the path of one. TensorRT and OpenVINO run such code as it
//!   is.

use super::messages::EXTERNAL;

/// Messages, texts and strings of bytes in one file. RTMPose's models have some thousands.
const MOST_PARTS: usize = 1 << 18;
/// Nested messages: each graph inside a graph adds three levels.
const DEEPEST: usize = 48;

/// The kind of a message, as far as its contents must be checked.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Model,
    Training,
    Function,
    Graph,
    Node,
    Attribute,
    SparseTensor,
    Tensor,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    /// A text, bytes, numbers, or a message without anything to check.
    Leaf,
}

impl Kind {
    /// The kind of the field with that number in `onnx.proto`.
    fn of_field(self, field: u64) -> Self {
        match (self, field) {
            (Self::Model, 7) | (Self::Training, 1 | 2) | (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Model, 20) => Self::Training,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Node, 5) | (Self::Function, 11) => Self::Attribute,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => Self::Tensor,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::SparseTensor,
            (Self::Graph, 11 | 12) => Self::ValueInfo,
            (Self::ValueInfo, 2) => Self::Type,
            (Self::Type, 1) => Self::TensorType,
            (Self::TensorType, 2) => Self::Shape,
            _ => Self::Leaf,
        }
    }
}

/// Checks a file; the error says what is wrong with it.
pub(super) fn scan(file: &[u8]) -> Result<(), String> {
    walk(Kind::Model, file, 0, &mut 0)
}

fn walk(kind: Kind, mut bytes: &[u8], depth: usize, parts: &mut usize) -> Result<(), String> {
    let broken = || "its bytes are not protobuf".to_string();
    if depth > DEEPEST {
        return Err(format!("its messages are nested more than {DEEPEST} levels deep"));
    }
    let (mut external, mut name) = (false, &[][..]);
    while !bytes.is_empty() {
        let varint = |bytes: &mut &[u8]| prost::decode_length_delimiter(bytes).map_err(|_| broken());
        let key = varint(&mut bytes)?;
        let field = key as u64 >> 3;
        match key & 7 {
            0 => {
                let value = varint(&mut bytes)?;
                external |= (kind, field, value as i32) == (Kind::Tensor, 14, EXTERNAL);
            }
            1 => _ = bytes.split_off(..8).ok_or_else(broken)?,
            5 => _ = bytes.split_off(..4).ok_or_else(broken)?,
            2 => {
                *parts += 1;
                if *parts > MOST_PARTS {
                    return Err(format!("it has more than {MOST_PARTS} parts"));
                }
                let length = varint(&mut bytes)?;
                let part = bytes.split_off(..length).ok_or_else(broken)?;
                match (kind, field) {
                    (Kind::Tensor, 8) => name = part,
                    (Kind::Node, 4) if part == b"EPContext" => {
                        return Err("it contains a compiled engine".to_string());
                    }
                    _ => (),
                }
                let inside = kind.of_field(field);
                if inside != Kind::Leaf {
                    walk(inside, part, depth + 1, parts)?;
                }
            }
            _ => return Err(broken()),
        }
    }
    match external {
        true => Err(format!("its tensor `{}` is in another file", String::from_utf8_lossy(name))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use prost::{Message, bytes::Bytes};

    use super::{
        super::messages::{Attribute, Graph, Model, Node, Tensor},
        *,
    };

    fn external() -> Tensor {
        Tensor { name: Some("w".to_string()), data_location: Some(EXTERNAL), ..Tensor::default() }
    }

    fn file(graph: Graph) -> Vec<u8> {
        Model { graph: Some(graph), ..Model::default() }.encode_to_vec()
    }

    fn with_attribute(attribute: Attribute) -> Graph {
        Graph { node: vec![Node { attribute: vec![attribute], ..Node::default() }], ..Graph::default() }
    }

    fn bytes(message: &impl Message) -> Bytes {
        message.encode_to_vec().into()
    }

    /// A message with one field.
    fn wrapped(field: u8, message: &[u8]) -> Vec<u8> {
        let mut bytes = vec![field << 3 | 2];
        prost::encode_length_delimiter(message.len(), &mut bytes).unwrap();
        bytes.extend(message);
        bytes
    }

    #[test]
    fn a_tensor_in_another_file_is_found_wherever_it_can_be() {
        let initializer = Graph { initializer: vec![external()], ..Graph::default() };
        let constant = with_attribute(Attribute { t: Some(external()), ..Attribute::default() });
        let attribute = |attribute: Attribute| file(with_attribute(attribute));
        let sparse = Bytes::from(wrapped(1, &external().encode_to_vec()));
        let function = wrapped(7, &constant.node[0].encode_to_vec());
        for (place, file) in [
            ("initializer", file(initializer.clone())),
            ("constant", file(constant)),
            ("tensors", attribute(Attribute { tensors: vec![bytes(&external())], ..Default::default() })),
            ("branch", attribute(Attribute { g: Some(bytes(&initializer)), ..Default::default() })),
            ("branches", attribute(Attribute { graphs: vec![bytes(&initializer)], ..Default::default() })),
            ("sparse", attribute(Attribute { sparse_tensor: Some(sparse.clone()), ..Default::default() })),
            ("sparse list", file(Graph { sparse_initializer: vec![sparse], ..Default::default() })),
            ("function", Model { functions: vec![function.into()], ..Default::default() }.encode_to_vec()),
            (
                "training",
                Model { training_info: vec![wrapped(2, &bytes(&initializer)).into()], ..Default::default() }
                    .encode_to_vec(),
            ),
        ] {
            assert_eq!(scan(&file).unwrap_err(), "its tensor `w` is in another file", "{place}");
        }
        let own = Tensor { data_location: Some(0), external_data: vec![Bytes::new()], ..external() };
        assert_eq!(scan(&file(Graph { initializer: vec![own], ..Graph::default() })), Ok(()));
    }

    #[test]
    fn parts_are_counted_before_they_are_made() {
        let attributes = |count: usize| {
            // Two bytes each.
            let node = [5 << 3 | 2, 0].repeat(count);
            wrapped(7, &wrapped(1, &node))
        };
        // The graph and the node are parts, too.
        assert_eq!(scan(&attributes(MOST_PARTS - 2)), Ok(()));
        assert_eq!(scan(&attributes(MOST_PARTS - 1)).unwrap_err(), "it has more than 262144 parts");
        // This is the most that can be used.
        assert!(MOST_PARTS * size_of::<Attribute>() < 256 << 20);
    }

    #[test]
    fn graphs_are_followed_down_to_a_depth() {
        let nested = |depth: usize| {
            let inner = Graph::default();
            let wrap = |graph: Graph, _| {
                with_attribute(Attribute { g: Some(bytes(&graph)), ..Attribute::default() })
            };
            file((0..depth).fold(inner, wrap))
        };
        assert_eq!(scan(&nested(15)), Ok(()));
        let error = "its messages are nested more than 48 levels deep";
        assert_eq!(scan(&nested(16)).unwrap_err(), error);
        assert_eq!(scan(&nested(2000)).unwrap_err(), error);
    }

    #[test]
    fn compiled_engines_are_refused() {
        let node = Node { op_type: Some("EPContext".to_string()), ..Node::default() };
        let error = scan(&file(Graph { node: vec![node], ..Graph::default() })).unwrap_err();
        assert_eq!(error, "it contains a compiled engine");
    }

    #[test]
    fn broken_bytes_are_refused() {
        for bytes in
            [&[0x80][..], &[7 << 3 | 2], &[7 << 3 | 2, 5, 0], &[1 << 3 | 1, 0], &[1 << 3 | 5, 0], &[3]]
        {
            assert_eq!(scan(bytes).unwrap_err(), "its bytes are not protobuf");
        }
        // A length that exceeds any memory.
        let long = [&[7 << 3 | 2][..], &[0xff; 9], &[1]].concat();
        assert_eq!(scan(&long).unwrap_err(), "its bytes are not protobuf");
    }
}
