use super::*;
use std::num::NonZero;

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_refused_announce_is_a_failure_reason_and_not_an_error_of_http() {
    assert_eq!(
        text(|out| Error::Announce(AnnounceError::NotAdmitted, None).write(false, out)),
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 85\r\nConnection: close\r\n\r\n\
         d14:failure reason63:Requested download is not authorized for use with this tracker.e"
    );
    assert!(text(|out| Error::NoInfoHash.write(true, out)).ends_with(
        "Connection: keep-alive\r\n\r\nd14:failure reason80:\
         Your client forgot to send your torrent's info_hash. Please upgrade your client.e"
    ));
    assert_eq!(
        (Error::NoInfoHash.counter(), Error::Announce(AnnounceError::Full, None).counter()),
        (Some(Counter::TcpNoInfoHash), None)
    );
}

#[test]
fn a_refused_announce_may_say_when_to_ask_again() {
    let body = |retry| String::from_utf8(failure_body("No.", Some(retry)).unwrap()).unwrap();
    let minutes = |minutes| Retry::InMinutes(NonZero::new(minutes).unwrap());
    assert_eq!(body(minutes(1)), "d14:failure reason3:No.8:intervali60e8:retry ini1ee");
    assert_eq!(body(minutes(1440)), "d14:failure reason3:No.8:intervali86400e8:retry ini1440ee");
    assert_eq!(body(minutes(u16::MAX)), "d14:failure reason3:No.8:intervali3932100e8:retry ini65535ee");
    assert_eq!(body(Retry::Never), "d14:failure reason3:No.8:intervali86400e8:retry in5:nevere");
    let error = Error::Announce(AnnounceError::NotAdmitted, Some(Retry::Never));
    assert!(text(|out| error.write(false, out)).ends_with("with this tracker.8:intervali86400e8:retry in5:nevere"));
}

#[test]
fn an_error_is_a_title() {
    for (error, status, title, count) in [
        (Error::Malformed, "400 Invalid Request", "400 Invalid Request", Counter::Http400Parse),
        (Error::UnknownMethod, "501 Not Implemented", "501 Not Implemented", Counter::HttpMethod),
        (Error::Parameter, "400 Invalid Parameter", "400 Invalid Parameter", Counter::Http400Parameter),
        (Error::StatsDenied, "403 Access Denied", "403 Access Denied", Counter::Http403),
        (Error::NotFound, "404 Not Found", "404 Not Found", Counter::Http404),
        (
            Error::Absent("this build has no full scrape (feature fullscrape)"),
            "404 Not Found",
            "404 Not Found: this build has no full scrape (feature fullscrape)",
            Counter::Http404,
        ),
        (
            Error::NeedsFeature("log-networks"),
            "404 Not Found",
            "404 Not Found: this build does not have the feature log-networks",
            Counter::Http404,
        ),
        (Error::Internal, "500 Internal Server Error", "500 Internal Server Error", Counter::Http500),
    ] {
        let len = title.len() + "<title></title>\n".len();
        assert_eq!(
            text(|out| error.write(false, out)),
            format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n\
                 <title>{title}</title>\n"
            )
        );
        assert_eq!(error.counter(), Some(count));
    }
}

#[test]
fn a_method_that_is_not_allowed_is_told_which_are() {
    assert_eq!(
        text(|out| Error::MethodNotAllowed.write(false, out)),
        "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\nContent-Type: text/html\r\nContent-Length: 38\r\n\
         Connection: close\r\n\r\n<title>405 Method Not Allowed</title>\n"
    );
    assert_eq!(Error::MethodNotAllowed.counter(), Some(Counter::HttpMethod));
}

#[test]
fn a_refusal_says_when_to_come_back_and_is_counted_where_the_switch_says() {
    let refusal = Refusal {
        status: "429 Too Many Requests",
        reason: "one every ten minutes",
        retry_after: Some(600),
        counter: Some(Counter::Http400NotModest),
    };
    assert_eq!(
        text(|out| Error::from(refusal).write(true, out)),
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 600\r\nContent-Type: text/html\r\nContent-Length: 60\r\n\
         Connection: keep-alive\r\n\r\n<title>429 Too Many Requests: one every ten minutes</title>\n"
    );
    assert_eq!(Error::from(refusal).counter(), Some(Counter::Http400NotModest));
    let silent = Refusal { reason: "", retry_after: None, counter: None, ..refusal };
    let reply = text(|out| Error::from(silent).write(true, out));
    assert!(!reply.contains("Retry-After") && reply.ends_with("\r\n\r\n<title>429 Too Many Requests</title>\n"));
    assert_eq!(Error::from(silent).counter(), None);
}

#[test]
fn text_in_parts_is_what_it_would_be_in_one() {
    for keep_alive in [true, false] {
        for parts in [&[&b"ab"[..], b"", b"c"][..], &[], &[&[b'x'; 12_345]]] {
            let in_parts = text(|out| write_text(keep_alive, parts, out));
            assert_eq!(in_parts, text(|out| write(OK, TEXT, keep_alive, &parts.concat(), out)));
        }
    }
}

#[test]
fn a_header_can_stand_alone() {
    let header = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: keep-alive\r\n\r\n";
    assert_eq!(text(|out| write_header(TEXT, true, out)), header);
    let sized = "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 9\r\nConnection: close\r\n\r\n";
    for (before, start) in [("", 0), ("sent\r\n\r\nbefore", 14)] {
        let mut out = before.as_bytes().to_vec();
        write(OK, "a/b", false, b"x\r\n\r\nyyyy", &mut out);
        cut_body(start, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), [before, sized].concat());
    }
    // Whatever has no end is left as it is.
    assert_eq!(
        text(|out| {
            out.extend_from_slice(b"abc");
            cut_body(0, out);
            cut_body(9, out);
        }),
        "abc"
    );
}

#[test]
fn a_redirect_says_where() {
    assert_eq!(
        text(|out| write_redirect("https://a.example/", false, out)),
        "HTTP/1.1 302 Found\r\nLocation: https://a.example/\r\nContent-Type: text/html\r\nContent-Length: 25\r\n\
         Connection: close\r\n\r\n<title>302 Found</title>\n"
    );
}

#[test]
fn a_stream_is_chunked_or_ends_with_the_connection() {
    assert_eq!(
        text(|out| write_stream_head(BINARY, true, Some("gzip"), true, true, out)),
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Encoding: gzip\r\n\
         Vary: Accept-Encoding\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"
    );
    assert_eq!(
        text(|out| write_stream_head(BINARY, false, None, false, false, out)),
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nConnection: close\r\n\r\n"
    );
}
