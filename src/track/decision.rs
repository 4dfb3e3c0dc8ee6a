//! What the tracker decides of somebody, in words for a log.

use std::fmt;

use super::Key;
use crate::pose::Region;

/// Somebody is found, believed, lost, or not believed.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// A search has found what may be somebody.
    Found { key: Key, region: Region, score: f32 },
    /// Closer looks agree: it is somebody, who has that id (none where upstream numbers people).
    Confirmed { key: Key, id: Option<i64>, region: Region, score: f32 },
    /// It is nobody.
    Rejected { key: Key, why: Doubt },
    /// Upstream has found somebody new.
    Detected { id: Option<i64>, region: Region },
    /// Somebody is not found any more.
    Lost { id: Option<i64> },
    /// Somebody who was lost is there again.
    Back { id: Option<i64>, region: Region },
    /// Somebody who was lost is not waited for any longer.
    Forgotten { id: Option<i64> },
}

/// Why what was found is not believed to be somebody.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Doubt {
    /// Closer looks found nothing there, or always something else.
    NotFoundAgain,
    /// Closer looks agree, but what they show is hardly like a person: their mean score.
    Unlikely(f32),
    /// Nobody looked again in time.
    TooOld,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found { key: Key(key), region, score } => {
                write!(f, "Candidate {key} is found at {}, score {score:.2}", Box(region))
            }
            Self::Confirmed { key: Key(key), id, region, score } => {
                write!(f, "Candidate {key} is confirmed as person {}", Name(*id))?;
                write!(f, " at {}, score {score:.2}", Box(region))
            }
            Self::Rejected { key: Key(key), why } => {
                write!(f, "Candidate {key} is rejected: ")?;
                match why {
                    Doubt::NotFoundAgain => write!(f, "further crops do not show it, or show something else"),
                    Doubt::Unlikely(score) => {
                        write!(
                            f,
                            "further crops agree, but their mean score is {score:.2}, or a part of the body is missing"
                        )
                    }
                    Doubt::TooOld => write!(f, "no further crop was inferred in time"),
                }
            }
            Self::Detected { id, region } => {
                write!(f, "Person {} comes from upstream at {}", Name(*id), Box(region))
            }
            Self::Lost { id } => write!(f, "Person {} is lost", Name(*id)),
            Self::Back { id, region } => write!(f, "Person {} is found again at {}", Name(*id), Box(region)),
            Self::Forgotten { id } => write!(f, "Person {} is forgotten", Name(*id)),
        }
    }
}

struct Name(Option<i64>);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(id) => write!(f, "{id}"),
            None => write!(f, "without id"),
        }
    }
}

struct Box<'a>(&'a Region);

impl fmt::Display for Box<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Region { x, y, width, height } = self.0;
        write!(f, "{x:.0},{y:.0} {width:.0}x{height:.0}")
    }
}
