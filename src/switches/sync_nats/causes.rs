//! Why there is no connection, or why a server refuses something, in words that say what to do.

use crate::log::Complaints;

/// Why a connection is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Nobody listens there.
    Refused,
    /// There is no way to it, or the process may not go it.
    Unreachable,
    /// It does not answer.
    Silent,
    /// Credentials, a password or a token that it does not take.
    Login,
    /// The certificate is signed by nobody who is believed.
    Untrusted,
    /// The certificate is for other names.
    OtherName,
    /// The certificate is not valid in another way: it has expired, for one.
    Certificate,
    /// It does not speak TLS, or none that this tracker speaks.
    NoTls,
    /// The tracker cannot read the system's certificates, which it does at each connection.
    SystemCertificates,
    /// It permits no more connections.
    Full,
    /// Something else, which the text says.
    Other,
}

impl Cause {
    const COUNT: usize = Self::Other as usize + 1;

    /// Reads the text of an error of the client, which keeps nothing but the text.
    pub(super) fn of(error: &str) -> Self {
        let says = |text: &str| error.contains(text);
        if says("onnection refused") {
            Self::Refused
        } else if says("unreachable") || says("No route") || says("Permission denied") || says("not permitted") {
            Self::Unreachable
        } else if says("timed out") {
            Self::Silent
        } else if says("platform certs") {
            Self::SystemCertificates
        } else if says("UnknownIssuer") || says("BadSignature") {
            Self::Untrusted
        } else if says("not valid for name") || says("NotValidForName") {
            Self::OtherName
        } else if says("invalid peer certificate") {
            Self::Certificate
        } else if says("corrupt message") || says("peer is incompatible") || says("ProtocolVersion") {
            Self::NoTls
        } else if says("uthoriz") || says("uthentic") || says("signing nonce") {
            Self::Login
        } else if says("aximum") {
            Self::Full
        } else {
            Self::Other
        }
    }

    /// Returns what is wrong and what to do, behind the name of the server. `login` is what to look at where that is
    /// refused.
    pub(super) fn in_words(self, login: &str, trusted: &str) -> String {
        match self {
            Self::Refused => "nobody listens there: does the server run?".to_owned(),
            Self::Unreachable => "there is no way to it".to_owned(),
            Self::Silent => {
                "it does not answer in time: is it a server of NATS, and does a firewall let it answer?".to_owned()
            }
            Self::Login => format!("it refuses who the tracker says that it is: {login}"),
            Self::Untrusted => format!("its certificate is not trusted: it is not signed by {trusted}"),
            Self::OtherName => {
                "its certificate is for another name: sync.nats.servers has to name the server as its certificate does"
                    .to_owned()
            }
            Self::Certificate => "its certificate is not valid".to_owned(),
            Self::NoTls => "it does not speak TLS 1.3".to_owned(),
            Self::SystemCertificates => {
                "the certificates of the system cannot be read, which the client does for each \
                                         connection of TLS"
                    .to_owned()
            }
            Self::Full => "it permits no more connections".to_owned(),
            Self::Other => "it failed".to_owned(),
        }
    }
}

/// Says once a minute for each cause what is wrong.
#[derive(Debug, Default)]
pub(super) struct CauseComplaints([Complaints; Cause::COUNT]);

impl CauseComplaints {
    /// Calls `complain`, unless that has been done for the same cause within the last minute.
    pub(super) fn say(&self, cause: Cause, complain: impl FnOnce()) {
        if let Some(complaints) = self.0.get(cause as usize) {
            complaints.say(complain);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_of_an_error_is_read_from_its_text() {
        for (text, cause) in [
            ("IO error: Connection refused (os error 111)", Cause::Refused),
            ("IO error: Network is unreachable (os error 101)", Cause::Unreachable),
            ("IO error: No route to host (os error 113)", Cause::Unreachable),
            ("IO error: Permission denied (os error 13)", Cause::Unreachable),
            ("timed out", Cause::Silent),
            ("IO error: Connection timed out (os error 110)", Cause::Silent),
            ("authorization violation: nats: authorization violation", Cause::Login),
            ("IO error: nats: 'User Authentication Expired'", Cause::Login),
            ("failed signing nonce", Cause::Login),
            ("IO error: invalid peer certificate: UnknownIssuer", Cause::Untrusted),
            // It says that it is signed by one of that name, and is not.
            ("IO error: invalid peer certificate: BadSignature", Cause::Untrusted),
            (
                "IO error: invalid peer certificate: certificate not valid for name \"a\"; certificate is only valid for b",
                Cause::OtherName,
            ),
            ("IO error: invalid peer certificate: Expired", Cause::Certificate),
            ("IO error: received corrupt message of type InvalidContentType", Cause::NoTls),
            ("IO error: received fatal alert: ProtocolVersion", Cause::NoTls),
            ("TLS error: could not load platform certs: opening directory", Cause::SystemCertificates),
            ("IO error: nats: 'maximum connections exceeded'", Cause::Full),
            ("IO error: expected INFO, got nothing", Cause::Other),
        ] {
            assert_eq!(Cause::of(text), cause, "{text}");
        }
    }

    #[test]
    fn each_cause_is_said_for_itself_and_not_again_at_once() {
        let complaints = CauseComplaints::default();
        let mut said = Vec::new();
        for cause in [Cause::Refused, Cause::Silent, Cause::Refused, Cause::Other, Cause::Other] {
            complaints.say(cause, || said.push(cause));
        }
        assert_eq!(said, [Cause::Refused, Cause::Silent, Cause::Other]);
    }
}
