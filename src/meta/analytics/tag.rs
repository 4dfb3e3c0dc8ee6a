//! Semantic tags of key point groups: which skeleton the points form.

use crate::pose::Skeleton;

/// The tag of a skeleton: its subject and its name, such as `body-pose/coco-17`.
pub(super) fn of_skeleton(name: &str) -> String {
    let subject = match name {
        "hand-21" => "hand-pose",
        "face-106" => "face-landmarks",
        "ap10k-17" => "animal-pose",
        name if Skeleton::by_name(name).is_some() => "body-pose",
        // The subject is not known.
        _ => "pose",
    };
    format!("{subject}/{name}")
}

/// The skeleton that ends a tag of any writer: `body-pose/coco-17`, `hand-21`, and `posture/hand-21-kp` as in GStreamer's
/// own documentation.
pub(super) fn skeleton(tag: &[u8]) -> Option<&'static Skeleton> {
    let tag = tag.strip_suffix(b"-kp").unwrap_or(tag);
    Skeleton::all().iter().copied().find(|skeleton| {
        let before = tag.strip_suffix(skeleton.name.as_bytes());
        before.is_some_and(|before| before.last().is_none_or(|byte| !byte.is_ascii_alphanumeric()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_say_what_the_points_are_of() {
        for (name, tag) in [
            ("coco-17", "body-pose/coco-17"),
            ("halpe-26", "body-pose/halpe-26"),
            ("coco-wholebody-133", "body-pose/coco-wholebody-133"),
            ("hand-21", "hand-pose/hand-21"),
            ("face-106", "face-landmarks/face-106"),
            ("ap10k-17", "animal-pose/ap10k-17"),
        ] {
            assert_eq!(of_skeleton(name), tag);
            assert_eq!(skeleton(tag.as_bytes()).unwrap().name, name);
        }
        assert_eq!(of_skeleton("custom-5"), "pose/custom-5");
    }

    #[test]
    fn tags_of_others_are_known_by_their_end() {
        let name = |tag: &str| skeleton(tag.as_bytes()).map(|skeleton| skeleton.name);
        assert_eq!(name("coco-17"), Some("coco-17"));
        assert_eq!(name("posture/hand-21-kp"), Some("hand-21"));
        assert_eq!(name("someone/else:halpe-26"), Some("halpe-26"));
        assert_eq!(name("notcoco-17"), None);
        assert_eq!(name("coco-17/left"), None);
        assert_eq!(name("pose-17-kp"), None);
        assert_eq!(name(""), None);
        assert_eq!(skeleton(b"\xff/coco-17").map(|skeleton| skeleton.name), Some("coco-17"));
    }
}
