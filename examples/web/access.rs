//! Who may watch: requests that a browser sends for another site are refused, and, if there is a token, requests without it.

use axum::http::{
    HeaderMap, StatusCode, Uri,
    header::{AUTHORIZATION, COOKIE, HOST, ORIGIN},
};
use sha2::{Digest, Sha256};

/// Why a request is refused.
pub type Refusal = (StatusCode, &'static str);

const STRANGER: Refusal = (
    StatusCode::FORBIDDEN,
    "This request comes from another site. Open the page by the address that the program prints.",
);
const NO_TOKEN: Refusal = (StatusCode::UNAUTHORIZED, "The token is missing or wrong.");

/// Fewest characters of a token, so that it cannot be guessed.
pub const TOKEN_LENGTH: usize = 16;

pub struct Access {
    /// The value of the cookie of a browser that has sent the token. None: every user of this machine may watch.
    key: Option<String>,
    /// Cookies are for all ports of a host.
    cookie: String,
}

impl Access {
    pub fn new(token: Option<&str>, port: u16) -> Self {
        Self { key: token.map(digest), cookie: format!("rtmpose-{port}") }
    }

    /// Refuses requests that another site makes a browser send: they have that site as the origin or, if its name was made
    /// to point to this machine, as the host.
    pub fn comes_from_here(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let host = text(HOST).unwrap_or_default();
        let origin = text(ORIGIN).map(|origin| origin.split_once("://").map_or("", |(_, host)| host));
        // Programs that are not browsers send no origin.
        let is_ours = origin.is_none_or(|origin| origin == host);
        // With a token, any host name may be used.
        let is_known = self.key.is_some() || is_this_machine(host);
        if is_ours && is_known { Ok(()) } else { Err(STRANGER) }
    }

    /// Whether the token was sent, if one is required: as a cookie, or `Authorization: Bearer TOKEN`.
    pub fn admits(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(key) = &self.key else { return Ok(()) };
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let cookie = cookies
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().strip_prefix(&self.cookie)?.strip_prefix('='))
            .any(|value| is_same(value, key));
        let bearer =
            headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        if cookie || bearer.is_some_and(|token| is_same(&digest(token), key)) {
            Ok(())
        } else {
            Err(NO_TOKEN)
        }
    }

    /// The cookie for a browser that sends the token.
    pub fn cookie(&self, token: &str) -> Result<String, Refusal> {
        let key = self.key.as_ref().filter(|key| is_same(&digest(token), key)).ok_or(NO_TOKEN)?;
        Ok(format!("{}={key}; HttpOnly; SameSite=Strict; Path=/; Max-Age=2592000", self.cookie))
    }
}

fn digest(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Takes equally long for a text that is nearly right, so that the time reveals nothing.
fn is_same(text: &str, other: &str) -> bool {
    Sha256::digest(text) == Sha256::digest(other)
}

fn is_this_machine(host: &str) -> bool {
    let Ok(uri) = host.parse::<Uri>() else { return false };
    let name = uri.host().unwrap_or_default();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
