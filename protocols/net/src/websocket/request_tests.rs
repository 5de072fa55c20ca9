//! Requests and their answers.

use super::*;

/// A request with this path and these lines, besides the usual ones.
fn request(path: &str, lines: &[&str]) -> String {
    let mut text = format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    for line in lines {
        text.push_str(line);
        text.push_str("\r\n");
    }
    text + "\r\n"
}

fn answer(request: &str, origins: &[&str]) -> Result<Agreed, RefusedRequest> {
    let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
    agree(request.as_bytes(), &Rules { origins: &origins, protocols: &["stomp", "mqtt"] })
}

fn protocol(path: &str, lines: &[&str]) -> Result<(Option<usize>, bool), RefusedRequest> {
    answer(&request(path, lines), &[]).map(|agreed| (agreed.protocol, agreed.text))
}

#[test]
fn the_example_of_the_specification_is_answered() {
    let agreed = answer(&request("/", &["Sec-WebSocket-Protocol: x, mqtt"]), &[]).unwrap();
    let want = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    assert_eq!(agreed.response(), want);
}

#[test]
fn the_sub_protocol_decides_and_then_the_path() {
    assert_eq!(protocol("/", &[]), Ok((None, false)));
    assert_eq!(protocol("/ws?token=1", &[]), Ok((None, false)));
    assert_eq!(protocol("/mqtt", &[]), Ok((Some(1), false)));
    assert_eq!(protocol("/stomp", &[]), Ok((Some(0), false)));
    assert_eq!(protocol("/mqtt", &["sec-websocket-protocol: v12.stomp"]), Ok((Some(0), true)));
    assert_eq!(protocol("/", &["Sec-WebSocket-Protocol: mqttv3.1"]), Ok((Some(1), false)));
    let several = ["Sec-WebSocket-Protocol: amqp", "Sec-WebSocket-Protocol: v10.stomp,mqtt"];
    assert_eq!(protocol("/", &several), Ok((Some(0), true)));
    let none = RefusedRequest::Malformed("none of the sub-protocols is spoken here");
    assert_eq!(protocol("/", &["Sec-WebSocket-Protocol: amqp, MQTT"]), Err(none));
    assert_eq!(protocol("/other", &[]), Err(RefusedRequest::NotFound));
    assert_eq!(protocol("/mqtt/", &[]), Err(RefusedRequest::NotFound));
}

#[test]
fn pages_of_other_origins_are_refused() {
    let from = |origin: &str, origins: &[&str]| {
        answer(&request("/", &[&format!("Origin: {origin}")]), origins).map(|agreed| agreed.text)
    };
    assert_eq!(from("https://a.example", &[]), Ok(false));
    assert_eq!(from("https://A.example", &["https://b.example", "https://a.example"]), Ok(false));
    assert_eq!(from("https://c.example", &["https://a.example", "*"]), Ok(false));
    for origin in ["https://c.example", "http://a.example", "https://a.example:444", "null"] {
        assert_eq!(from(origin, &["https://a.example"]), Err(RefusedRequest::Forbidden));
    }
    assert!(answer(&request("/", &[]), &["https://a.example"]).is_ok(), "no browser");
}

#[test]
fn what_asks_for_no_websocket_is_told_so() {
    let plain = request("/", &[]);
    for (part, instead) in [
        ("Upgrade: WebSocket\r\n", ""),
        ("keep-alive, Upgrade", "keep-alive"),
        ("Version: 13", "Version: 8"),
        ("Sec-WebSocket-Version: 13\r\n", ""),
    ] {
        let changed = plain.replace(part, instead);
        assert_ne!(changed, plain);
        assert_eq!(answer(&changed, &[]), Err(RefusedRequest::NoUpgrade), "{part}");
    }
    let response = RefusedRequest::NoUpgrade.response();
    assert!(
        response.starts_with("HTTP/1.1 426 ") && response.contains("Sec-WebSocket-Version: 13\r\n")
    );
}

#[test]
fn malformed_requests_are_refused() {
    let plain = request("/", &[]);
    for (part, instead) in [
        ("GET", "POST"),
        ("HTTP/1.1", "HTTP/1.0"),
        ("HTTP/1.1", "MQTT"),
        ("Host: a\r\n", ""),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j"),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
        ("Host: a\r\n", "Host: a\r\nHost: b\r\n"),
        ("Host: a\r\n", "Host: a\r\nContent-Length: 3\r\n"),
        ("Host: a\r\n", "Host: a\r\nTransfer-Encoding: chunked\r\n"),
    ] {
        let changed = plain.replace(part, instead);
        assert_ne!(changed, plain);
        let refused = answer(&changed, &[]).unwrap_err();
        assert!(matches!(refused, RefusedRequest::Malformed(_)), "{part}: {refused}");
    }
    let many: Vec<String> = (0..HEADERS_MAX).map(|n| format!("X-{n}: 1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(answer(&request("/", &many), &[]).is_err());
    assert!(answer(&request("/", &many[..HEADERS_MAX - 5]), &[]).is_ok());
}
