use super::*;

/// With a driver, but an ONNX Runtime that cannot use it, such as the CPU build of the tests.
#[test]
fn auto_warns_and_takes_the_cpu_where_cuda_fails() {
    for has_driver in [true, false] {
        let backend = OnnxBackend {
            model_file: Some(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/networks/dots-small.onnx").into()),
            batch_size: 2,
            has_driver,
            ..OnnxBackend::default()
        };
        let events = std::cell::RefCell::new(Vec::new());
        let report = |event| events.borrow_mut().push(event);
        let loading = Loading { report: &report, cancelled: &Default::default(), most_crops: 2 };
        let (network, _) = backend.open(&loading).unwrap();
        let is_warning =
            |event: &&LoadEvent| matches!(event, LoadEvent::Warning(text) if text.contains("CUDA"));
        let warnings = events.borrow().iter().filter(is_warning).count();
        // A GPU build on a machine with a GPU does not warn.
        let expected = usize::from(has_driver && network.provider == network::Provider::Cpu);
        assert_eq!(warnings, expected, "driver {has_driver}, {:?}", network.provider);
    }
}

#[test]
fn several_cards_each_have_the_network_and_one_batch_size() {
    let backend = OnnxBackend { batch_size: 0, has_driver: true, ..OnnxBackend::default() };
    let devices = backend.on_each(&[3, 1]);
    assert_eq!(devices.iter().map(|device| device.number).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(devices[1].name, "GPU 1");
    // Each GPU has as many as a single one, on any machine, and none moves to the CPU by itself.
    for device in &devices {
        assert_eq!(device.backend.likely_executors(), EXECUTORS_ON_A_GPU);
        assert!(device.backend.elsewhere().is_none() && device.backend.devices().unwrap().is_empty());
    }
    assert!(backend.on_each(&[2])[0].backend.elsewhere().is_some(), "one alone does as device-id does");
}

/// Without a driver, `all` is the same as no GPUs.
#[test]
fn without_a_card_the_network_runs_where_it_would_without_device_ids() {
    let backend = |provider| OnnxBackend {
        provider,
        cards: Some(Cards::All),
        has_driver: false,
        ..OnnxBackend::default()
    };
    for provider in [Provider::Auto, Provider::Cpu, Provider::OpenVino] {
        assert!(backend(provider).devices().unwrap().is_empty(), "{provider:?}");
    }
    assert_eq!(backend(Provider::Cuda).devices().unwrap().len(), driver::count() as usize);
}

/// On the providers that accept any size, each asked for batches of 8 with room for 2.
#[test]
fn where_memory_is_short_fewer_crops_are_run_at_once() {
    let backend = OnnxBackend {
        model_file: Some(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/networks/dots-small.onnx").into()),
        batch_size: 8,
        ..OnnxBackend::default()
    };
    assert!(backend.takes_smaller_batches());
    let loading = Loading { report: &|_| (), cancelled: &Default::default(), most_crops: 2 };
    let (_, executor) = OnnxBackend { provider: Provider::Cpu, ..backend.clone() }.open(&loading).unwrap();
    assert_eq!(executor.warm_up_sizes(), [2]);
    // If this build of ONNX Runtime has no OpenVINO, it says so.
    match (OnnxBackend { provider: Provider::OpenVino, ..backend }).open(&loading) {
        Ok((_, executor)) => assert_eq!(executor.warm_up_sizes(), [2]),
        Err(error) => assert_eq!(error.kind, ErrorKind::Provider, "{error}"),
    }
}

#[test]
fn where_even_the_smallest_batch_has_no_room_auto_takes_the_cpu() {
    let elsewhere = |provider, has_driver| {
        let backend = OnnxBackend { provider, has_driver, ..OnnxBackend::default() };
        backend.elsewhere().map(|(place, _)| place)
    };
    assert_eq!(elsewhere(Provider::Auto, true), Some("the CPU"));
    // It was there already, or the user allows no other place.
    assert_eq!(elsewhere(Provider::Auto, false), None);
    assert_eq!(elsewhere(Provider::Cuda, true), None);
}

#[test]
fn a_file_of_one_batch_size_says_that_it_cannot_be_run_in_smaller_ones() {
    let backend = OnnxBackend {
        model_file: Some(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/networks/batch-1.onnx").into()),
        ..OnnxBackend::default()
    };
    assert!(!backend.takes_smaller_batches());
    let short = Error::new(ErrorKind::OutOfMemory, "no room");
    let text = explain_fixed_batch(short.clone(), Some(8)).message;
    assert!(text.starts_with("no room; the file allows only batches of 8"), "{text}");
    assert_eq!(explain_fixed_batch(short.clone(), None), short);
    let other = Error::new(ErrorKind::Run, "no room");
    assert_eq!(explain_fixed_batch(other.clone(), Some(8)), other);
}
