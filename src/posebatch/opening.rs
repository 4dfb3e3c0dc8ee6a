//! NULL->READY: the key points' skeleton.

use super::settings::Settings;
use crate::{
    engine::{Error, ErrorKind},
    pose::Skeleton,
};

/// The skeleton of the key points: the property's, or the one that their number identifies, if it does.
pub(super) fn skeleton_of(settings: &Settings, points: usize) -> Result<Option<&'static Skeleton>, Error> {
    let Some(name) = &settings.skeleton else { return Ok(Skeleton::for_points(points)) };
    let refuse = |what: String| {
        let text = format!("The property skeleton is {what}, or leave the property unset");
        Error::new(ErrorKind::ModelRefused, text)
    };
    let skeleton = Skeleton::find(name).map_err(refuse)?;
    if skeleton.points != points {
        return Err(refuse(format!(
            "{name}, which has {} key points, but the model has {points}: set it to one that fits, load another model",
            skeleton.points
        )));
    }
    Ok(Some(skeleton))
}
