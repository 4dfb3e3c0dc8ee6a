//! What `rtmposedetect` adds to the stage: it looks at whole frames, and attaches the boxes of the people in them.

use std::{convert::Infallible, path::PathBuf, sync::Arc, time::Duration};

use gst::prelude::*;

use super::{
    log::{CAT, log_batch},
    settings::All,
};
use crate::{
    common::{Asked, card, open_engine},
    engine::{Error, PendingAnswer},
    meta::{self, FrameDetections},
    network::{Boxes, Kind, Network, Task, Wanted},
    stage::{self, Arrival, CropCutter, Inference, Opened, Opening, Running, Stage},
    sync::{Mutex, MutexGuard, lock},
    video::{FrameShape, Whole},
};

/// The element's own part of its stage.
#[derive(Default)]
pub struct Detections {
    settings: Mutex<All>,
    #[cfg(any(debug_assertions, feature = "testing"))]
    pub(super) injected: once_cell::sync::OnceCell<crate::common::Given>,
}

impl Detections {
    pub(super) fn current(&self) -> MutexGuard<'_, All> {
        lock(&self.settings)
    }
}

/// A frame that is looked at; none where it has no pixels.
pub struct Looked(Option<(Whole, PendingAnswer)>);

impl stage::Work for Looked {
    type Step = Infallible;

    fn crops(&self) -> usize {
        self.0.iter().count()
    }

    fn is_waiting(&self) -> bool {
        self.0.as_ref().is_some_and(|(_, pending)| !pending.is_handed())
    }

    fn is_done(&self) -> bool {
        self.0.as_ref().is_none_or(|(_, pending)| pending.outcome().is_some())
    }

    fn step(&self) -> Option<Infallible> {
        None
    }
}

impl Inference for Detections {
    const NAME: &'static str = "rtmposedetect";
    const SELDOM: &'static str = "people are found late";
    const TURNED: &'static str = "their people are hardly found";

    type Network = Network;
    /// What the network's rows mean.
    type Ready = Boxes;
    type Work = Looked;
    type Input = ();
    type Output = ();

    fn category() -> gst::DebugCategory {
        *CAT
    }

    fn settings(&self) -> stage::Settings {
        let All { common, own } = &*self.current();
        common.for_stage(stage::Settings {
            interval: own.inference_interval,
            stats_interval: Duration::from_nanos(own.stats_interval),
            ..stage::Settings::default()
        })
    }

    fn open(stage: &Stage<Self>, opening: &Opening) -> Result<Opened<Self>, Error> {
        let all = stage.inference.current().clone();
        #[cfg(any(debug_assertions, feature = "testing"))]
        let given = stage.inference.injected.get().cloned();
        #[cfg(not(any(debug_assertions, feature = "testing")))]
        let given = None;
        let All { common, own } = &all;
        let asked = Asked {
            model_file: own.model_file.as_ref().map(PathBuf::from),
            wanted: Wanted { task: Some(Task::Boxes), classes: own.classes()? },
            batch_size: own.batch_size as usize,
            common,
            agreement: all.agreement(),
            observer: log_batch,
        };
        let loaded = open_engine(&stage.element(), given, &asked, opening)?;
        let Network { width, height, kind, provider, sha256 } = &loaded.network;
        let Kind::Boxes(boxes) = *kind else { unreachable!("the task was compared") };
        let provider_name = provider.name();
        let description = format!(
            "{} ({width}x{height} pixels, {boxes:?}) on {provider_name}",
            sha256.as_deref().unwrap_or("a network")
        );
        let summary = format!("boxes of people on {provider_name}");
        let gpu = provider.is_nvidia().then(|| u32::try_from(common.device_id).ok()).flatten();
        let card = card(provider, common.device_id);
        Ok(Opened { ready: boxes, loaded: Arc::clone(&loaded), gpu, card, description, summary })
    }

    fn look(
        _: &Stage<Self>,
        arrival: &Arrival<'_, Self>,
        _: &mut (),
        cutter: &mut CropCutter<'_>,
    ) -> Result<Looked, gst::FlowError> {
        cutter.whole(arrival.running.ready.fit()).map(Looked)
    }

    fn attach(
        stage: &Stage<Self>,
        running: &Running<Self>,
        frame: &mut gst::Buffer,
        shape: FrameShape,
        Looked(looked): Looked,
        _: &mut (),
    ) -> Result<(), String> {
        let thresholds = stage.inference.current().own.thresholds();
        let mut found = match looked {
            None => Vec::new(),
            Some((whole, pending)) => match pending.outcome() {
                Some(Ok(row)) => running.ready.detections(row, &whole, &thresholds),
                Some(Err(error)) => return Err(error.message.clone()),
                None => return Err("a frame was not answered".to_string()),
            },
        };
        let (width, height) = (shape.width as f32, shape.height as f32);
        for detection in &mut found {
            detection.region = detection.region.scaled(shape.to_pixels()).clipped(width, height);
        }
        // Also boxes of less than half a pixel.
        found.retain(|detection| detection.region.width >= 0.5 && detection.region.height >= 0.5);
        let people = found.iter().map(|detection| (detection.region, detection.score)).collect();
        let source = stage.element().name().into();
        if let Err(error) = meta::write_detections(frame.make_mut(), &FrameDetections { source, people }) {
            gst::error!(CAT, obj = stage.element(), "The people could not be attached: {error}");
        }
        Ok(())
    }
}
