//! Where servers are: the user's list, and the addresses behind a name.

use std::{fmt, net::IpAddr};

use http::Uri;

/// A list with more servers than this is a mistake.
const MOST: usize = 64;

/// One entry of the list: a server, or all servers behind its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name, or an address without brackets.
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

impl Address {
    /// Reads a list such as `grpc://gpu1:8001,grpcs://gpu2.example.org:8001`. The error completes a sentence that begins
    /// with 'inference-server cannot be used: '.
    pub fn list(text: &str) -> Result<Vec<Self>, String> {
        let mut addresses = Vec::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let address = Self::parse(item)?;
            if addresses.contains(&address) {
                return Err(format!("it contains {address} twice"));
            }
            addresses.push(address);
        }
        match addresses.len() {
            0 => Err("it contains no server".to_string()),
            1..=MOST => Ok(addresses),
            more => Err(format!("it contains {more} servers, more than {MOST}")),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        // Not quoted: the part before the @ may be a password.
        if text.contains('@') {
            return Err(
                "it contains a user name or a password (@): put them into server-metadata".to_string()
            );
        }
        let form = "such as grpc://gpu1:8001, or grpcs:// for TLS, is needed";
        let uri: Uri = text.parse().map_err(|_| format!("`{text}` is not an address: an address {form}"))?;
        let tls = match uri.scheme_str() {
            Some("grpc") => false,
            Some("grpcs") => true,
            _ => return Err(format!("`{text}` begins with neither grpc:// nor grpcs://: an address {form}")),
        };
        if uri.query().is_some() || !matches!(uri.path(), "" | "/") {
            return Err(format!("`{text}` contains a path, which gRPC does not have: an address {form}"));
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_string();
        if host.is_empty() {
            return Err(format!("`{text}` has no host: an address {form}"));
        }
        let port = uri.port_u16().filter(|port| *port != 0);
        let port = port.ok_or_else(|| format!("`{text}` has no port: Triton's gRPC port is 8001"))?;
        Ok(Self { host, port, tls })
    }

    /// For the HTTP client.
    pub fn uri(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }

    fn authority(&self) -> String {
        match self.host.parse() {
            Ok(IpAddr::V6(address)) => format!("[{address}]:{}", self.port),
            _ => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "grpcs" } else { "grpc" }, self.authority())
    }
}

/// Whether data sent there stays on this machine or in a private network (RFC 1918, RFC 4193, RFC 6598, link-local).
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            address.is_loopback()
                || address.is_private()
                || address.is_link_local()
                || (first == 100 && second & 0xc0 == 64)
        }
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => is_private(mapped.into()),
            None => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_servers_is_read() {
        let list =
            Address::list(" grpc://gpu1:8001, grpcs://[2001:db8::1]:443/,grpc://10.0.0.1:9000,").unwrap();
        let texts: Vec<_> = list.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["grpc://gpu1:8001", "grpcs://[2001:db8::1]:443", "grpc://10.0.0.1:9000"]);
        assert_eq!(
            (list[1].host.as_str(), list[1].uri().as_str()),
            ("2001:db8::1", "https://[2001:db8::1]:443")
        );
    }

    #[test]
    fn what_is_no_server_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "contains no server"),
            (" , ", "contains no server"),
            ("gpu1:8001", "neither grpc:// nor grpcs://"),
            ("http://gpu1:8001", "neither grpc:// nor grpcs://"),
            ("grpc://gpu1", "has no port"),
            ("grpc://gpu1:0", "has no port"),
            ("grpc://gpu1:8001/v2", "contains a path"),
            ("grpc://:8001", "no "),
            ("grpc://a b:1", "is not an address"),
            ("grpc://a:1,grpc://a:1", "contains grpc://a:1 twice"),
        ] {
            let error = Address::list(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        let many: String = (1..=65).map(|port| format!("grpc://a:{port},")).collect();
        assert_eq!(Address::list(&many).unwrap_err(), "it contains 65 servers, more than 64");
        let error = Address::list("grpc://user:hunter2@gpu1:8001").unwrap_err();
        assert!(!error.contains("hunter2") && error.contains("server-metadata"), "{error}");
    }

    #[test]
    fn private_networks_are_known() {
        let private = |text: &str| is_private(text.parse().unwrap());
        for inside in
            ["127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.7.7", "169.254.1.1", "100.64.0.1", "::1"]
        {
            assert!(private(inside), "{inside}");
        }
        assert!(private("fd00::1") && private("fe80::1") && private("::ffff:10.0.0.1"));
        for outside in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2001:db8::1", "::ffff:8.8.8.8"] {
            assert!(!private(outside), "{outside}");
        }
    }
}
