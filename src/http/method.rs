//! The method of a request (RFC 9110, section 9): the first word of its head.

/// A method that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`: the same reply without its body.
    Head,
}

/// Why what has come is not read as a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadHead {
    /// It is no head of a request, or it is too long, or has too many header fields.
    Malformed,
    /// It begins with the line of a request whose method is known, and served for no page.
    MethodNotAllowed,
    /// It begins with the line of a request whose method is not known.
    UnknownMethod,
}

/// Methods that everybody knows and that no page has a use for (RFC 9110, section 9, and RFC 5789).
const NOT_ALLOWED: [&[u8]; 7] = [b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"];

/// A method, or how it is refused if it is not served.
pub(super) type MethodOrRefusal = Result<Method, BadHead>;

/// Splits what begins with a method behind the space that follows it. Returns `None` if that has not come yet. One that
/// is refused is returned too: whether it is a method shows only in the rest of its line.
///
/// # Errors
///
/// This is not going to be a method, whatever follows.
#[inline]
pub(super) fn split(head: &[u8]) -> Result<Option<(MethodOrRefusal, &[u8])>, BadHead> {
    match head.strip_prefix(b"GET ") {
        Some(rest) => Ok(Some((Ok(Method::Get), rest))),
        None => split_other(head),
    }
}

/// The same for all but GET.
#[cold]
fn split_other(head: &[u8]) -> Result<Option<(MethodOrRefusal, &[u8])>, BadHead> {
    let Some(len) = head.iter().position(|&byte| !is_token(byte)) else { return Ok(None) };
    let (name, rest) = head.split_at_checked(len).ok_or(BadHead::Malformed)?;
    let rest = rest.strip_prefix(b" ").filter(|_| !name.is_empty()).ok_or(BadHead::Malformed)?;
    let method = match name {
        b"GET" => Ok(Method::Get),
        b"HEAD" => Ok(Method::Head),
        name if NOT_ALLOWED.contains(&name) => Err(BadHead::MethodNotAllowed),
        _ => Err(BadHead::UnknownMethod),
    };
    Ok(Some((method, rest)))
}

/// Returns whether a byte may be part of a method, which is case-sensitive (RFC 9110, sections 5.6.2 and 9.1).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(head: &str) -> Result<Option<MethodOrRefusal>, BadHead> {
        split(head.as_bytes()).map(|found| {
            found.map(|(method, rest)| {
                assert_eq!(rest, b"/ HTTP/1.1", "{head}");
                method
            })
        })
    }

    #[test]
    fn a_method_is_a_token_with_a_space_behind_it() {
        let refused = |name: &str| method(&format!("{name} / HTTP/1.1")).unwrap().unwrap().unwrap_err();
        assert_eq!(method("GET / HTTP/1.1"), Ok(Some(Ok(Method::Get))));
        assert_eq!(method("HEAD / HTTP/1.1"), Ok(Some(Ok(Method::Head))));
        for name in ["POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"] {
            assert_eq!(refused(name), BadHead::MethodNotAllowed, "{name}");
        }
        for name in ["get", "Head", "G", "GETS", "HEADS", "post", "PROPFIND", "M-SEARCH", "PRI", "!#$%&'*+-.^_`|~9"] {
            assert_eq!(refused(name), BadHead::UnknownMethod, "{name}");
        }
    }

    #[test]
    fn the_rest_of_a_method_is_waited_for_and_of_nothing_else() {
        for head in ["", "G", "GET", "HEA", "HEAD", "POS", "what-ever.this-is-going-to-be"] {
            assert_eq!(method(head), Ok(None), "{head}");
        }
        for head in [" ", " GET / HTTP/1.1", "GET\t/ HTTP/1.1", "GET\r\n", "G(", "\u{16}\u{3}\u{1}", "HEAD:", "\u{e9}"]
        {
            assert_eq!(method(head), Err(BadHead::Malformed), "{}", head.escape_debug());
        }
    }
}
