//! Other protocols: WebSocket, gRPC, HTTP/2, FastCGI, and bodies too large for memory.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV4, TcpStream};
use std::thread;

use support::h2::{self, H2};
use support::{Site, among_others, net};

use super::{LISTED, connect, heard, judging, node, node_of};

/// Reads a request's or an answer's head.
fn read_head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("bytes of a head") == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("a head is text")
}

/// A server that takes each connection to `serve`; its threads end with the test process.
fn serving(serve: impl Fn(TcpStream) + Send + Copy + 'static) -> SocketAddrV4 {
    let (listener, address) = net::listen();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || serve(stream));
        }
    });
    address
}

#[test]
fn a_websocket_is_judged_by_its_handshake_and_flows_both_ways() {
    let _turn = among_others();
    let upstream = serving(|mut stream| {
        assert!(read_head(&mut stream).to_ascii_lowercase().contains("upgrade: websocket"));
        let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                      Connection: Upgrade\r\n\r\n";
        stream.write_all(answer.as_bytes()).expect("is sent");
        // Speaks first, then repeats what it hears.
        stream.write_all(b"\x81\x05hello").expect("is sent");
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
    });
    let node = node(&format!(
        "location / {{ proxy_pass http://{upstream}; proxy_http_version 1.1; \
         proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection Upgrade; }}"
    ));
    let handshake = |target: &str, from: &str| {
        let visit = node.visit(target).from(from);
        let visit = visit.header("Connection", "Upgrade").header("Upgrade", "websocket");
        let mut stream = connect(&node.nginx);
        stream.write_all(&visit.bytes()).expect("is sent");
        stream
    };
    let mut socket = judging(&node, 1, || {
        let mut socket = handshake("/chat", "192.0.2.1");
        assert!(read_head(&mut socket).starts_with("HTTP/1.1 101 "));
        socket
    });
    let mut first = [0; 7];
    socket.read_exact(&mut first).expect("a frame");
    assert_eq!(&first, b"\x81\x05hello");
    // What flows is no request: also what would be refused in one. Large and small.
    for frame in [&b"\x81\x06evil=1"[..], b"\x82\x00", &[7; 200_000]] {
        let mut back = vec![0; frame.len()];
        let mut writer = socket.try_clone().expect("a second handle");
        let sent = frame.to_vec();
        let sender = thread::spawn(move || writer.write_all(&sent));
        socket.read_exact(&mut back).expect("the frame comes back");
        sender.join().expect("no panic").expect("is sent");
        assert_eq!(back, frame);
    }
    drop(socket);
    for (target, from) in [("/chat", LISTED), ("/secret", "192.0.2.1")] {
        let head = judging(&node, 1, || read_head(&mut handshake(target, from)));
        assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    }
}

#[test]
fn streams_of_one_http2_connection_have_verdicts_of_their_own() {
    let _turn = among_others();
    let site = Site { listen: "http2".into(), ..Site::default() };
    let node = node_of("location / { PASS }", site);
    let mut connection = H2::connect(node.nginx.address()).expect("a connection");
    let cases: [(&[u8], &str, u16); 5] = [
        (b"/", "192.0.2.1", 200),
        (b"/secret", "192.0.2.1", 403),
        (b"/", LISTED, 403),
        (b"/%73ecret", "192.0.2.1", 403),
        (b"/other", "192.0.2.1", 200),
    ];
    judging(&node, 5, || {
        for (stream, (path, client, status)) in (1..).step_by(2).zip(cases) {
            connection.ask(stream, &h2::request(path, client.as_bytes())).expect("is sent");
            assert_eq!(connection.status(stream).expect("an answer"), status, "stream {stream}");
        }
    });
}

#[test]
fn grpc_calls_pass_or_are_refused() {
    let _turn = among_others();
    let upstream = net::free();
    let site = Site {
        listen: "http2".into(),
        servers: format!(
            "server {{ listen {upstream} http2; nwaf off; location / {{ \
             add_header X-Got $content_length; default_type application/grpc; \
             return 200 reply; }} }}"
        ),
        ..Site::default()
    };
    let node = node_of(&format!("location / {{ grpc_pass grpc://{upstream}; }}"), site);
    // Not curl: nginx answers before the body, and resets what it does not read.
    let call = |path: &str, from: &str, body: &str| {
        let mut connection = H2::connect(node.nginx.address()).expect("a connection");
        let mut fields = h2::request(path.as_bytes(), from.as_bytes());
        fields[0].1 = b"POST";
        fields.push((b"content-type", b"application/grpc"));
        fields.push((b"te", b"trailers"));
        let head = h2::frame(h2::HEADERS, h2::END_HEADERS, 1, &h2::block(&fields));
        let data = h2::frame(h2::DATA, h2::END_STREAM, 1, body.as_bytes());
        connection.send(&[head, data].concat()).expect("is sent");
        connection.status(1).expect("an answer")
    };
    for (path, from, body, status) in [
        ("/site.Service/Call", "192.0.2.1", "good=1", 200),
        ("/site.Service/Call", LISTED, "good=1", 403),
        ("/secret/Call", "192.0.2.1", "good=1", 403),
        ("/site.Service/Call", "192.0.2.1", "evil=1", 403),
    ] {
        let answered = judging(&node, 1, || call(path, from, body));
        assert_eq!(answered, status, "{path} {from} {body}");
    }
}

/// One FastCGI record of request 1.
fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("a short record").to_be_bytes();
    let mut bytes = vec![1, kind, 0, 1, length[0], length[1], 0, 0];
    bytes.extend(content);
    bytes
}

#[test]
fn fastcgi_gets_what_passes() {
    const STDIN: u8 = 5;
    let _turn = among_others();
    let upstream = serving(|mut stream| {
        let mut input: Vec<u8> = Vec::new();
        loop {
            let mut head = [0; 8];
            stream.read_exact(&mut head).expect("a record");
            let length = u16::from_be_bytes([head[4], head[5]]) as usize;
            let mut content = vec![0; length + usize::from(head[6])];
            stream.read_exact(&mut content).expect("a record");
            match (head[1], length) {
                (STDIN, 0) => break,
                (STDIN, _) => input.extend(&content[..length]),
                _ => {}
            }
        }
        let text = format!("Content-Type: text/plain\r\n\r\n{} bytes", input.len());
        let (output, end) = (record(6, text.as_bytes()), record(3, &[0; 8]));
        stream.write_all(&[output, end].concat()).expect("is sent");
    });
    let node = node(&format!(
        "location / {{ fastcgi_pass {upstream}; fastcgi_param REQUEST_METHOD $request_method; }}"
    ));
    let post = |body: Vec<u8>| node.visit("/").method("POST").body(body);
    let answer = judging(&node, 1, || post(b"good=1".to_vec()).send());
    assert_eq!((answer.status, answer.text().as_str()), (200, "6 bytes"));
    let large = vec![b'x'; 100_000];
    assert_eq!(judging(&node, 1, || post(large.clone()).send().text()), "100000 bytes");
    assert_eq!(judging(&node, 1, || post(b"evil=1".to_vec()).status()), 403);
    assert_eq!(judging(&node, 1, || post(large).from(LISTED).status()), 403);
}

#[test]
fn large_uploads_arrive_whole_and_cost_no_memory() {
    const BYTES: usize = 24 << 20;
    let _turn = among_others();
    let node = node(
        "client_max_body_size 32m; \
         location / { PASS } location /flowing { proxy_request_buffering off; PASS }",
    );
    let worker = *node.nginx.workers().first().expect("a worker");
    let small = node.visit("/").method("POST").body(vec![b'x'; 200_000]);
    assert_eq!(small.status(), 200);
    let before = support::nginx::resident_kib(worker);
    for target in ["/", "/flowing"] {
        let visit = node.visit(target).method("POST").body(vec![b'x'; BYTES]);
        let answer = judging(&node, 1, || visit.send());
        assert_eq!(answer.json()["body_bytes"].as_u64(), Some(BYTES as u64), "{target}");
    }
    let grown = support::nginx::resident_kib(worker).saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB more after uploads of {BYTES} bytes");
}

#[test]
fn upgrades_that_nobody_asked_for_change_nothing() {
    let _turn = among_others();
    let node = node("location / { PASS }");
    for line in ["h2c", "websocket", "TLS/1.0"] {
        let visit = |from: &str| {
            let visit = node.visit("/").from(from).header("Upgrade", line);
            visit.header("Connection", "Upgrade, close").bytes()
        };
        for (from, status) in [("192.0.2.1", "HTTP/1.1 200"), (LISTED, "HTTP/1.1 403")] {
            let mut stream = connect(&node.nginx);
            stream.write_all(&visit(from)).expect("is sent");
            assert!(heard(stream).starts_with(status), "{line} from {from}");
        }
    }
}
