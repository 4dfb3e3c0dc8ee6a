//! Makes ONNX Runtime's error texts readable for users.

use crate::platform::files::bounded;

/// After this, CUDA's failures contain the machine's name, a place in ONNX Runtime's code and the call.
const DETAILS: &str = " ; GPU=";

/// The sentence in a message of ONNX Runtime: without places in its code, and without further lines.
pub(super) fn readable(message: &str) -> String {
    let line = message.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let line = line.split(DETAILS).next().unwrap_or_default();
    bounded(without_place(line).trim_end_matches('.'))
}

/// Removes `/path/file.cc:123 type namespace::function(arguments) const ` from the beginning of the line, with what precedes
/// it, such as `Exception during initialization:`.
fn without_place(line: &str) -> &str {
    let is_place = |word: &&str| {
        let Some((file, number)) = word.rsplit_once(':') else { return false };
        let is_source =
            [".cc", ".h", ".cpp", ".cu", ".cuh", ".hpp"].iter().any(|ending| file.ends_with(ending));
        is_source && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let Some(place) = line.split(' ').find(is_place) else { return line };
    let at = place.as_ptr().addr() - line.as_ptr().addr() + place.len();
    let after = line[at..].trim_start();
    let said = without_signature(after).trim_start();
    match (said.is_empty(), after.is_empty()) {
        (false, _) => said,
        (true, false) => after,
        (true, true) => line,
    }
}

/// Removes a C++ function's signature from the beginning, if there is one.
fn without_signature(text: &str) -> &str {
    // Only a qualified name with arguments counts.
    let Some(open) = text.find('(').filter(|open| text[..*open].contains("::")) else { return text };
    let Some(arguments) = balanced(&text[open..], '(', ')') else { return text };
    let mut rest = &text[open + arguments..];
    loop {
        let trimmed = rest.trim_start();
        if let Some(after) = trimmed.strip_prefix("const ") {
            rest = after;
        } else if trimmed.starts_with("[with ") {
            let Some(end) = balanced(trimmed, '[', ']') else { return trimmed };
            rest = &trimmed[end..];
        } else {
            return trimmed;
        }
    }
}

/// Bytes up to the bracket that closes the one at the beginning.
fn balanced(text: &str, open: char, close: char) -> Option<usize> {
    let mut depth = 0usize;
    for (at, letter) in text.char_indices() {
        if letter == open {
            depth += 1;
        } else if letter == close {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                return Some(at + letter.len_utf8());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_onnx_runtimes_code_are_cut() {
        for (message, expected) in [
            (
                "Failed to load model because protobuf parsing failed.",
                "Failed to load model because protobuf parsing failed",
            ),
            (
                "/onnxruntime_src/onnxruntime/core/graph/graph.cc:1587 void \
                 onnxruntime::Graph::InitializeStateFromModelFileGraphProto() This is an invalid model. Graph output \
                 (simcc_x) does not exist in the graph.",
                "This is an invalid model. Graph output (simcc_x) does not exist in the graph",
            ),
            (
                "Exception during initialization: /src/core/x.h:12 T onnxruntime::A<T>::B(const std::function<void(int)>&, \
                 int) const [with T = std::vector<int> [3]] size != 0 was false. A tensor is missing.\n\nStacktrace:\n",
                "size != 0 was false. A tensor is missing",
            ),
            (
                "/src/core/provider.cc:99 Cannot find libcudnn.so.9 (in the path)",
                "Cannot find libcudnn.so.9 (in the path)",
            ),
            (
                "Non-zero status code returned while running Gather node. Name:'a' Status Message: idx=1 out of [-1,0]",
                "Non-zero status code returned while running Gather node. Name:'a' Status Message: idx=1 out of [-1,0]",
            ),
            (
                "Failed to parse provider option \"device_id\": CUDA failure 100: no CUDA-capable device is detected ; GPU=-1 ; \
                 hostname=camera-7 ; file=/onnxruntime_src/onnxruntime/core/providers/cuda/info.cc ; line=70 ; expr=count(&n);",
                "Failed to parse provider option \"device_id\": CUDA failure 100: no CUDA-capable device is detected",
            ),
            ("/src/a.cc:1", "/src/a.cc:1"),
            ("\n second line counts\n", "second line counts"),
            ("", ""),
        ] {
            assert_eq!(readable(message), expected);
        }
    }

    #[test]
    fn broken_signatures_are_left() {
        for text in ["a::b(c [with", "a::b)", "f(x) y", "a::b((", "/a.cc:1 a::b() const [with x"] {
            let _ = readable(text);
        }
        assert_eq!(readable("f(x) y"), "f(x) y");
    }
}
