//! A model file: read, checked against the contract, adapted. ONNX Runtime is not involved.

use gstrtmpose::network::{
    check_and_adapt, check_cut_and_adapt,
    graph::{Adaptation, Layout, Operators, adapt, read},
};

pub fn run(bytes: &[u8]) {
    for (half, fixed_batch, operators) in [
        (false, None, None),
        (true, None, None),
        (false, Some(3), Some((Layout::ChannelsFirst, false))),
        (true, None, Some((Layout::ChannelsLast, true))),
    ] {
        let operators = operators.map(|(layout, pointwise)| Operators { layout, pointwise });
        let adaptation = Adaptation { half, fixed_batch, operators, ..Adaptation::default() };
        match check_and_adapt(bytes, &adaptation) {
            // What ONNX Runtime gets keeps to the contract, too.
            Ok(adapted) => {
                let again = check_and_adapt(&adapted, &Adaptation::default());
                assert!(again.is_ok(), "{:?}", again.unwrap_err().message);
            }
            Err(error) => {
                let text = error.message;
                assert!(text.chars().count() < 800, "too long: {text}");
                assert!(!text.chars().any(char::is_control), "no message: {text:?}");
            }
        }
        if let Some(cut) = check_cut_and_adapt(bytes, &adaptation) {
            assert!(cut.map_or_else(|error| error.message.len() < 4000, |file| read(file.into()).is_ok()));
        }
        // As examples/adapt.rs does, which asks for no contract.
        if let Ok(model) = read(bytes.to_vec().into()) {
            let _ = adapt(&model, &adaptation);
        }
    }
}
