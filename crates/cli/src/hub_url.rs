//! The address of a hub in one form, so that it can name credentials and files.
//!
//! Must not know: what is behind the address.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;

use crate::digest;

/// `https://host[:port][/path]`, or `http://` on loopback; never with user, query, fragment or trailing slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HubUrl(Url);

impl HubUrl {
    /// Whether it is the plain-text form, which only loopback may have.
    pub(crate) fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }

    /// Whether it points at this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }

    /// The address with path segments added, each encoded.
    pub(crate) fn join(&self, segments: &[&str]) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// Where kubectl reaches a cluster. Always https: kubectl sends no credentials to an `http://` server
    /// (client-go, `tools/clientcmd/client_config.go`), and the hub tells TLS and plain text apart on one port.
    pub(crate) fn kubernetes_server(&self, cluster: &str) -> String {
        let mut url = self.join(&["k8s", "clusters", cluster]);
        if self.is_plain() {
            let port = url.port_or_known_default();
            // Neither can fail: both schemes are special, and the host is there.
            let _ = url.set_scheme("https");
            let _ = url.set_port(port);
        }
        url.into()
    }

    /// Host and port, for names that people read.
    pub(crate) fn authority(&self) -> &str {
        self.0.authority()
    }

    /// A file name that no other hub has.
    pub(crate) fn slug(&self) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        let readable: String = self.authority().chars().map(|c| if plain(c) { c } else { '_' }).collect();
        let digest = digest::sha256_hex(self.to_string().as_bytes());
        format!("{readable}-{}", &digest[..12])
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

impl FromStr for HubUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let spelled = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let wrong =
            |why: &str| format!("{text:?} is no address of a hub: {why}; use for example https://hub.example.com:8080");
        let mut url = Url::parse(&spelled).map_err(|error| wrong(&error.to_string()))?;
        if url.host_str().is_none() || !matches!(url.scheme(), "https" | "http") {
            return Err(wrong("it must begin with https:// or http:// and name a host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "the address of a hub must not hold a user or password: leave them out, flotilla asks".to_owned()
            );
        }
        if url.scheme() == "http" && !is_loopback(&url) {
            return Err(wrong(
                "plain http is for this machine only, because passwords would be readable on the way; use https",
            ));
        }
        url.set_query(None);
        url.set_fragment(None);
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }
}

impl fmt::Display for HubUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(text: &str) -> HubUrl {
        text.parse().unwrap()
    }

    #[test]
    fn one_form_for_one_hub() {
        for text in ["https://Hub.Example.com:443/", "hub.example.com", " https://hub.example.com?x=1#y "] {
            assert_eq!(hub(text).to_string(), "https://hub.example.com", "{text}");
        }
        assert_eq!(hub("http://127.0.0.1:8080/").to_string(), "http://127.0.0.1:8080");
        assert_eq!(hub("https://example.com/flotilla/").to_string(), "https://example.com/flotilla");
        assert_eq!(hub("hub:8080").to_string(), "https://hub:8080");
    }

    #[test]
    fn refuses_what_would_leak_or_is_no_hub() {
        for text in ["http://hub.example.com", "ftp://hub", "https://", "https://u:p@hub", "", "http://10.0.0.1:8080"] {
            assert!(text.parse::<HubUrl>().is_err(), "{text}");
        }
        let error = "https://user:geheim@hub".parse::<HubUrl>().unwrap_err();
        assert!(!error.contains("geheim"), "{error}");
    }

    #[test]
    fn kubernetes_is_reached_over_tls_on_the_same_port() {
        assert_eq!(hub("http://127.0.0.1:8080").kubernetes_server("dev"), "https://127.0.0.1:8080/k8s/clusters/dev");
        assert_eq!(hub("http://localhost").kubernetes_server("dev"), "https://localhost:80/k8s/clusters/dev");
        assert_eq!(hub("http://[::1]:8080").kubernetes_server("dev"), "https://[::1]:8080/k8s/clusters/dev");
        assert_eq!(hub("https://hub/f").kubernetes_server("dev"), "https://hub/f/k8s/clusters/dev");
    }

    #[test]
    fn segments_are_encoded() {
        assert_eq!(hub("https://hub").join(&["api", "roles", "a/b ?"]).as_str(), "https://hub/api/roles/a%2Fb%20%3F");
    }

    #[test]
    fn slugs_are_file_names_and_differ() {
        let slugs =
            ["https://hub/a", "https://hub/b", "https://[::1]:8080", "http://127.0.0.1:8080"].map(|t| hub(t).slug());
        for (i, slug) in slugs.iter().enumerate() {
            assert!(slug.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)), "{slug}");
            assert!(!slugs[..i].contains(slug));
        }
    }
}
