//! Whether the clock tells an unknown account from a wrong password.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Instant;

use serde_json::json;
use socket2::{Domain, Socket, Type};

use super::world::World;

/// Pairs of attempts after which the clock is read.
const PAIRS: usize = 40;

/// Readings at most: what the machine does beside is noise, and more pairs have less of it.
const READINGS: usize = 4;

/// Attempts with one account, below what the throttle lets through.
const PER_ACCOUNT: usize = 8;

/// Seconds until a sign-in is refused. Each comes from an address of its own, so that no throttle answers instead.
fn refused_after(world: &World, attempt: usize, email: &str) -> f64 {
    let [_, _, high, low] = u32::try_from(attempt + 2).unwrap().to_be_bytes();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, high + 1, low)), 0).into()).unwrap();
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], world.fixture.hub.people_port)).into()).unwrap();
    let mut stream: TcpStream = socket.into();
    let body = json!({"email": email, "password": "certainly wrong"}).to_string();
    let request = format!(
        "POST /auth/login HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let started = Instant::now();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let seconds = started.elapsed().as_secs_f64();
    assert!(text.starts_with("HTTP/1.1 401 "), "{text}");
    seconds
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The median of each kind, and of the ratio within pairs that were taken one right after the other in changing order:
/// a machine that is busy is so for both. One of them under 5 % is enough; without a hash for the unknown account both
/// are above 90 %.
#[test]
fn unknown_accounts_take_as_long_as_wrong_passwords() {
    let world = World::start();
    let (mut known, mut unknown, mut ratios, mut seen) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for reading in 0..READINGS {
        for pair in reading * PAIRS..(reading + 1) * PAIRS {
            let email = format!("known{}@example.com", pair / PER_ACCOUNT);
            if pair % PER_ACCOUNT == 0 {
                let password = "a long enough password";
                world.as_admin("POST", "/api/users", &json!({"email": email, "password": password}), 201);
            }
            let nobody = format!("nobody{pair}@example.com");
            let order = if pair % 2 == 0 { [&email, &nobody] } else { [&nobody, &email] };
            let times = [0, 1].map(|nth| refused_after(&world, pair * 2 + nth, order[nth]));
            let [of_known, of_nobody] = if pair % 2 == 0 { times } else { [times[1], times[0]] };
            known.push(of_known);
            unknown.push(of_nobody);
            ratios.push(of_nobody / of_known);
        }
        let apart = (median(&mut unknown) / median(&mut known) - 1.0).abs();
        let within_pairs = (median(&mut ratios) - 1.0).abs();
        seen.push((apart, within_pairs));
        if apart.min(within_pairs) < 0.05 {
            println!(
                "medians {:.1} % apart, {:.1} % within pairs, {} pairs",
                apart * 100.0,
                within_pairs * 100.0,
                ratios.len()
            );
            return;
        }
    }
    panic!("an unknown account is told apart by time: {seen:?}");
}
