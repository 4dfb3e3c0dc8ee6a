//! When a frame was taken, in UTC: from the source's metadata, or from the pipeline's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use gst::{glib, prelude::*};

/// Seconds from 1900, the start of NTP, to 1970, the start of UNIX time.
const NTP_TO_UNIX: gst::ClockTime = gst::ClockTime::from_seconds(2_208_988_800);

/// The time in the source's metadata, since 1970.
pub fn told(buffer: &gst::BufferRef) -> Option<gst::ClockTime> {
    buffer.iter_meta::<gst::ReferenceTimestampMeta>().find_map(|meta| {
        match meta.reference().structure(0)?.name().as_str() {
            "timestamp/x-unix" => Some(meta.timestamp()),
            "timestamp/x-ntp" => meta.timestamp().checked_sub(NTP_TO_UNIX),
            _ => None,
        }
    })
}

/// The moment at which the element's clock shows a running time of a live stream; none without a clock.
pub fn by_clock(element: &impl IsA<gst::Element>, running_time: gst::ClockTime) -> Option<gst::ClockTime> {
    let (clock, base) = (element.clock()?, element.base_time()?);
    let time = base.checked_add(running_time)?;
    match clock.type_().name() {
        "GstSystemClock" if clock.property::<gst::ClockType>("clock-type") == gst::ClockType::Realtime => {
            Some(time)
        }
        "GstNtpClock" => time.checked_sub(NTP_TO_UNIX),
        // It runs as fast as this machine's clock, from another start.
        _ => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
            let now = gst::ClockTime::try_from(now).ok()?;
            let age = i128::from(clock.time().nseconds()) - i128::from(time.nseconds());
            let then = i128::from(now.nseconds()) - age;
            u64::try_from(then).ok().map(gst::ClockTime::from_nseconds)
        }
    }
}

/// As ISO 8601, with nanoseconds.
pub fn text(time: gst::ClockTime) -> Option<String> {
    let second = glib::DateTime::from_unix_utc(time.seconds().try_into().ok()?).ok()?;
    let second = second.format("%Y-%m-%dT%H:%M:%S").ok()?;
    Some(format!("{second}.{:09}Z", time.nseconds() % gst::ClockTime::SECOND.nseconds()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_iso_8601_has_them() {
        let time = |nseconds| text(gst::ClockTime::from_nseconds(nseconds));
        assert_eq!(time(0).as_deref(), Some("1970-01-01T00:00:00.000000000Z"));
        assert_eq!(time(951_782_400_000_000_007).as_deref(), Some("2000-02-29T00:00:00.000000007Z"));
        assert!(time(u64::MAX - 1).unwrap().starts_with("2554-07-21T23:34:33.709551614"));
    }
}
