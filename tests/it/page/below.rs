//! The page below a path: behind a proxy that shows other programs under the same name.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};

use super::desk::{Desk, PT, company};

const BELOW: &str = "/cofre";

/// A proxy as nginx is with `location /cofre/ { proxy_pass http://batchshare/; }`: it takes the path away and passes
/// everything else on, `Host` too. What is not below the path is 404. It ends with the test process.
fn proxy(gateway: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let gateway = gateway.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let gateway = TcpStream::connect(&gateway).expect("the gateway listens");
            std::thread::spawn(move || {
                let (from, to) = (stream.try_clone(), gateway.try_clone());
                let (from, to) = (from.expect("a clone"), to.expect("a clone"));
                std::thread::spawn(move || {
                    // An error is the end of one side, and then of both.
                    let _ = std::io::copy(&mut &gateway, &mut &stream);
                    let _ = stream.shutdown(Shutdown::Both);
                });
                let _ = requests(&from, &to);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    });
    address
}

/// Passes the requests of a connection on, one after the other.
fn requests(from: &TcpStream, mut to: &TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(from);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let outside = || line.replacen(" /", " /outside-of-it/", 1);
        let below = format!(" {BELOW}/");
        let mut head = if line.contains(&below) { line.replacen(&below, " /", 1) } else { outside() };
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            head.push_str(&header);
            let (name, value) = header.split_once(':').unwrap_or_default();
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or(0);
            }
            if header.trim().is_empty() {
                break;
            }
        }
        to.write_all(head.as_bytes())?;
        std::io::copy(&mut reader.by_ref().take(length), &mut to)?;
    }
}

#[test]
fn the_page_works_below_a_path_of_a_proxy() {
    let mut desk = Desk::with(Vec::new(), Some(&company(3)));
    desk.address = format!("{}{BELOW}", proxy(&desk.address));
    let browser = &desk.browser;
    desk.at("secrets");
    browser.by_role("link", "API 1001");
    desk.tick("API 1001");
    let window = desk.open_share(&PT);
    desk.choose(&window, &PT, "bruno", "Bruno Martins");
    desk.send(&window, &PT);
    // It comes by the event stream.
    desk.told(&PT, "1 acesso novo");
    assert!(browser.url().contains(BELOW));
    desk.quiet(&[]);
}
