// A UDP server that knows its clients behind uoa-proxy: it answers each datagram with its client's address.
// rustc --edition 2021 -O server.rs; usage: server IP PORT    (IP may be :: on a host with one address of each family)
use std::collections::HashMap;
use std::env;
use std::ffi::c_void;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::io::{AsRawFd, RawFd};

const IPPROTO_IP: i32 = 0;
const IPPROTO_IPV6: i32 = 41;
const IP_RECVOPTS: i32 = 6; // linux/in.h
const IPV6_RECVDSTOPTS: i32 = 58; // linux/in6.h
const IPV6_DSTOPTS: i32 = 59;
const AF_INET6: u16 = 10;

// recvmsg(2) as on 64-bit Linux; the crates libc and nix have it ready-made.
#[repr(C)]
struct IoVec {
    base: *mut u8,
    len: usize,
}
#[repr(C)]
struct MsgHdr {
    name: *mut u8,
    name_len: u32,
    iov: *mut IoVec,
    iov_len: usize,
    control: *mut u8,
    control_len: usize,
    flags: i32,
}
extern "C" {
    fn setsockopt(fd: RawFd, level: i32, option: i32, value: *const c_void, len: u32) -> i32;
    fn recvmsg(fd: RawFd, message: *mut MsgHdr, flags: i32) -> isize;
}

/// The client in the first UOA (option 31, 30). The lengths of IPv4's options count type and length, too.
fn client_in(options: &[u8], is_ipv4: bool) -> Option<SocketAddr> {
    let mut at = 0;
    while at + 1 < options.len() {
        let kind = options[at];
        if kind == 0 || (kind == 1 && is_ipv4) {
            at += 1; // padding of one byte
            continue;
        }
        let len = (options[at + 1] as usize).checked_sub(if is_ipv4 { 2 } else { 0 })?;
        let content = options.get(at + 2..at + 2 + len)?;
        at += 2 + len;
        if kind != 31 && kind != 30 {
            continue;
        }
        // unified: cport, vport, client, VIP; over IPv4 it begins with an operation.
        let (port, ip) = match len {
            6 | 18 => (&content[..2], &content[2..]),
            12 | 36 => (&content[..2], &content[4..4 + (len - 4) / 2]),
            14 | 38 => (&content[2..4], &content[6..6 + (len - 6) / 2]),
            _ => continue,
        };
        let ip: IpAddr = match <[u8; 4]>::try_from(ip) {
            Ok(ip) => ip.into(),
            Err(_) => <[u8; 16]>::try_from(ip).ok()?.into(),
        };
        return Some(SocketAddr::new(ip, u16::from_be_bytes([port[0], port[1]])));
    }
    None
}

/// Payload length, source, and the client where there is a UOA.
fn receive(fd: RawFd, payload: &mut [u8]) -> Option<(usize, SocketAddr, Option<SocketAddr>)> {
    let (mut name, mut control) = ([0u8; 28], [0u64; 64]);
    let mut iov = IoVec { base: payload.as_mut_ptr(), len: payload.len() };
    let mut message = MsgHdr {
        name: name.as_mut_ptr(),
        name_len: name.len() as u32,
        iov: &mut iov,
        iov_len: 1,
        control: control.as_mut_ptr() as *mut u8,
        control_len: 512,
        flags: 0,
    };
    let len = usize::try_from(unsafe { recvmsg(fd, &mut message, 0) }).ok()?;
    let port = u16::from_be_bytes([name[2], name[3]]);
    let source = if u16::from_ne_bytes([name[0], name[1]]) == AF_INET6 {
        SocketAddr::new(Ipv6Addr::from(<[u8; 16]>::try_from(&name[8..24]).ok()?).into(), port)
    } else {
        SocketAddr::new(<[u8; 4]>::try_from(&name[4..8]).ok()?.into(), port)
    };
    // struct cmsghdr: length (8), level (4), type (4), then the data; each begins at a multiple of 8.
    let bytes: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let (mut at, mut client) = (0, None);
    while at + 16 <= message.control_len {
        let size = u64::from_ne_bytes(bytes[at..at + 8].try_into().ok()?) as usize;
        let level = i32::from_ne_bytes(bytes[at + 8..at + 12].try_into().ok()?);
        let kind = i32::from_ne_bytes(bytes[at + 12..at + 16].try_into().ok()?);
        let data = bytes.get(at + 16..at + size)?;
        if (level, kind) == (IPPROTO_IP, IP_RECVOPTS) {
            client = client_in(data, true);
        } else if (level, kind) == (IPPROTO_IPV6, IPV6_DSTOPTS) {
            client = client_in(data.get(2..)?, false);
        }
        at += (size + 7) & !7;
    }
    Some((len, source, client))
}

/// As IPv4 where an IPv6 socket says ::ffff:a.b.c.d.
fn plain(source: SocketAddr) -> SocketAddr {
    match source.ip() {
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => {
            SocketAddr::new(ip.to_ipv4_mapped().unwrap().into(), source.port())
        }
        _ => source,
    }
}

fn main() {
    let args: Vec<String> = env::args().collect();
    let ip: IpAddr = args[1].parse().expect("an IP address");
    let socket = UdpSocket::bind((ip, args[2].parse().expect("a port"))).expect("the address can be bound");
    let fd = socket.as_raw_fd();
    let on = 1i32;
    let turn_on = |level, option| unsafe { setsockopt(fd, level, option, &on as *const i32 as *const c_void, 4) };
    turn_on(IPPROTO_IP, IP_RECVOPTS);
    if ip.is_ipv6() {
        turn_on(IPPROTO_IPV6, IPV6_RECVDSTOPTS);
    }
    // By source address, LIP:lport; never more than the proxy has lports.
    let mut clients: HashMap<SocketAddr, SocketAddr> = HashMap::new();
    let mut payload = vec![0u8; 65535];
    println!("ready");
    loop {
        let (len, source, told) = match receive(fd, &mut payload) {
            Some(received) => received,
            None => continue,
        };
        if let Some(client) = told {
            clients.insert(source, client);
            if len == 0 {
                continue; // a carrier: it was only for the UOA
            }
        }
        // Who is not known yet, as after a restart of this server, goes by LIP:lport until the proxy tells again.
        let client = clients.get(&source).copied().unwrap_or_else(|| plain(source));
        let _ = socket.send_to(&[client.to_string().as_bytes(), b" ", &payload[..len]].concat(), source);
    }
}
