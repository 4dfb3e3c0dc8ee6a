//! What `rtmposedetect` adds to the stage: it infers whole frames, and attaches the boxes of the people in them.

use std::{path::PathBuf, sync::Arc, time::Duration};

use gst::prelude::*;

use super::{
    log::{CAT, log_batch},
    settings::{All, Settings},
};
use crate::{
    common::{Asked, Configuration, Configured, cards, open_engine},
    engine::Error,
    meta::{self, FrameDetections},
    network::{Boxes, Kind, Network, Task, Wanted},
    stage::{self, Arrival, CropCutter, Inference, Opened, Opening, Running, Stage, WholeFrame},
    video::FrameShape,
};

/// The element's own part of its stage.
#[derive(Default)]
pub struct Detections {
    pub(super) configuration: Configuration<Settings>,
}

impl Configured for Detections {
    type Own = Settings;

    fn configuration(&self) -> &Configuration<Settings> {
        &self.configuration
    }
}

impl Inference for Detections {
    const NAME: &'static str = "rtmposedetect";
    const SELDOM: &'static str = "people are found late";
    const TURNED: &'static str = "few people are found";

    type Network = Network;
    /// What the network's rows mean.
    type Ready = Boxes;
    type Work = WholeFrame;
    type Input = ();
    type Output = ();

    fn category() -> gst::DebugCategory {
        *CAT
    }

    fn settings(&self) -> stage::Settings {
        let All { common, own } = &*self.configuration.current();
        common.for_stage(stage::Settings {
            interval: own.inference_interval,
            stats_interval: Duration::from_nanos(own.stats_interval),
            ..stage::Settings::default()
        })
    }

    fn open(stage: &Stage<Self>, opening: &Opening) -> Result<Opened<Self>, Error> {
        let configuration = &stage.inference.configuration;
        let all = configuration.current().clone();
        let All { common, own } = &all;
        let asked = Asked {
            model_file: own.model_file.as_ref().map(PathBuf::from),
            wanted: Wanted { task: Some(Task::Boxes), classes: own.classes()? },
            batch_size: own.batch_size as usize,
            common,
            agreement: all.agreement(),
            observer: log_batch,
        };
        let loaded = open_engine(&stage.element(), configuration.given(), &asked, opening)?;
        let Network { width, height, kind, provider, sha256, .. } = &loaded.network;
        let Kind::Boxes(boxes) = *kind else { unreachable!("the task was compared") };
        let provider_name = provider.name();
        let description = format!(
            "{} ({width}x{height} pixels, {boxes:?}) on {provider_name}",
            sha256.as_deref().unwrap_or("a network")
        );
        let summary = format!("boxes of people on {provider_name}");
        let (gpus, cards) = cards(&loaded, common.device_id);
        Ok(Opened { ready: boxes, loaded: Arc::clone(&loaded), gpus, cards, description, summary })
    }

    fn look(
        _: &Stage<Self>,
        arrival: &Arrival<'_, Self>,
        _: &mut (),
        cutter: &mut CropCutter<'_>,
    ) -> Result<WholeFrame, gst::FlowError> {
        cutter.whole(arrival.running.ready.fit())
    }

    fn attach(
        stage: &Stage<Self>,
        running: &Running<Self>,
        frame: &mut gst::Buffer,
        shape: FrameShape,
        work: WholeFrame,
        _: &mut (),
    ) -> Result<(), String> {
        let thresholds = stage.inference.configuration.current().own.thresholds();
        let found = work.answer()?.map(|(row, whole)| running.ready.detections(row, whole, &thresholds));
        let mut found = found.unwrap_or_default();
        let (width, height) = (shape.width as f32, shape.height as f32);
        for detection in &mut found {
            detection.region = detection.region.scaled(shape.to_pixels()).clipped(width, height);
        }
        // Even boxes of less than half a pixel.
        found.retain(|detection| detection.region.width >= 0.5 && detection.region.height >= 0.5);
        let people = found.iter().map(|detection| (detection.region, detection.score)).collect();
        let source = stage.element().name().into();
        if let Err(error) = meta::write_detections(frame.make_mut(), &FrameDetections { source, people }) {
            gst::error!(CAT, obj = stage.element(), "The people could not be attached: {error}");
        }
        Ok(())
    }
}
