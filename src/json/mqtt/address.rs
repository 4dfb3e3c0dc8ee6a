//! Reads a location such as `mqtt://host:port`, or `mqtts://host:port` for TLS.

use std::fmt;

use crate::json::failure::Failure;

const PLAIN: &str = "mqtt://";
const TLS: &str = "mqtts://";

/// Whether the location is a broker instead of a file.
pub fn is_broker(location: &str) -> bool {
    location.starts_with(PLAIN) || location.starts_with(TLS)
}

#[derive(Clone, Debug, PartialEq)]
pub struct Address {
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

impl Address {
    /// No error quotes anything that may contain a password.
    pub fn parse(location: &str) -> Result<Self, Failure> {
        let tls = location.starts_with(TLS);
        let rest = location.strip_prefix(if tls { TLS } else { PLAIN }).unwrap_or(location);
        if rest.contains('@') {
            return Err(Failure::settings(
                "The property location contains a user or a password, which every user of the machine can see in its \
                 list of processes: set the variables RTMPOSE_MQTT_USER and RTMPOSE_MQTT_PASSWORD, or \
                 credentials-file",
            ));
        }
        let wrong = || {
            let text = format!(
                "The property location is {location}, which names no broker: mqtt://host:port is needed, and the topic \
                                in the property topic"
            );
            Failure::settings(text)
        };
        let (host, port) = match rest.rsplit_once(':') {
            // A colon inside brackets belongs to the address.
            Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| wrong())?),
            _ => (rest, if tls { 8883 } else { 1883 }),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_name = |host: &str| {
            !host.is_empty() && host.chars().all(|letter| letter.is_alphanumeric() || ".-_".contains(letter))
        };
        let known = match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => is_name(host),
        };
        if !known || port == 0 {
            return Err(wrong());
        }
        Ok(Self { host: host.to_string(), port, tls })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}:{}", if self.tls { TLS } else { PLAIN }, self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(location: &str) -> Result<String, String> {
        Address::parse(location).map(|address| address.to_string()).map_err(|failure| failure.text)
    }

    #[test]
    fn brokers_have_a_host_and_a_port() {
        assert!(is_broker("mqtt://here") && is_broker("mqtts://here") && !is_broker("people.jsonl"));
        for (location, address) in [
            ("mqtt://here", "mqtt://here:1883"),
            ("mqtts://broker.example", "mqtts://broker.example:8883"),
            ("mqtt://127.0.0.1:1884", "mqtt://127.0.0.1:1884"),
            ("mqtt://[::1]", "mqtt://[::1]:1883"),
            ("mqtt://[::1]:18", "mqtt://[::1]:18"),
        ] {
            assert_eq!(read(location).unwrap(), address);
        }
        for wrong in [
            "mqtt://",
            "mqtt://here:",
            "mqtt://here:0",
            "mqtt://here:99999",
            "mqtt://here/topic",
            "mqtt://a b",
            "mqtt://[x]",
        ] {
            assert!(
                read(wrong).unwrap_err().contains(&format!("location is {wrong}, which names no broker")),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_password_in_a_location_is_refused_and_not_shown() {
        let error = read("mqtt://me:hunter2@here").unwrap_err();
        assert!(error.contains("credentials-file") && !error.contains("hunter2"), "{error}");
    }
}
