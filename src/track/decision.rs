//! The tracker's decisions about a person, as words for a log.

use std::fmt;

use super::Key;
use crate::pose::Region;

/// A person or candidate was found, confirmed, lost or rejected.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// A search has found a candidate.
    Found { key: Key, region: Region, score: f32 },
    /// Further crops agree: it is a person with that id (none if upstream numbers people).
    Confirmed { key: Key, id: Option<i64>, region: Region, score: f32 },
    /// The candidate is not a person.
    Rejected { key: Key, why: Doubt },
    /// Upstream has found a new person.
    Detected { id: Option<i64>, region: Region },
    /// A person is no longer found.
    Lost { id: Option<i64> },
    /// A lost person was found again.
    Back { id: Option<i64>, region: Region },
    /// A lost person is no longer searched for.
    Forgotten { id: Option<i64> },
}

/// Why a candidate was rejected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Doubt {
    /// Further crops found nothing there, or something else each time.
    NotFoundAgain,
    /// Further crops agree, but what they show is hardly a person: their mean score.
    Unlikely(f32),
    /// No further crop was taken in time.
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
