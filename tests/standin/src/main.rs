//! Stand-ins as a program: `seatbeat-standin connect 127.0.0.1:4051`. Invariant: what it starts with is the same each
//! time, and its first line says where it listens.

use std::io::Write as _;
use std::process::ExitCode;

use seatbeat_standin::connect::Connect;
use seatbeat_standin::drop::Drop;
use seatbeat_standin::ion::Ion;
use seatbeat_standin::lmpi::Lmpi;
use seatbeat_standin::simpleapi::SimpleApi;
use seatbeat_standin::{Standin, server};
use tokio::net::TcpListener;

const USAGE: &str = "usage: seatbeat-standin connect|lmpi|simpleapi|ion|drop ADDRESS";

/// Of `connect`: who is let in, what is sold, under which contract.
const CONNECT: [&str; 3] = ["SU-000-000-001:standin", "PRD-000-000-001", "CRD-00000-00000-00001"];

fn standin(name: &str) -> Option<Standin> {
    match name {
        "connect" => {
            let [key, product, contract] = CONNECT;
            let connect = Connect::new(key, product, contract)
                .with_asset("AS-0000-0000-0001", "Acme", "WF-SVC", 15, ("account", "acme"))
                .with_asset("AS-0000-0000-0001", "Acme", "WF-ADV", 3, ("account", "acme"))
                .with_asset("AS-0000-0000-0002", "Bolt", "WF-SVC", 50, ("account", "bolt"));
            Some(Standin::new(connect))
        }
        "lmpi" => {
            let lmpi = Lmpi::new("00000000-0000-4000-8000-000000000001", "standin")
                .customer("acme", "Acme")
                .subscription("acme-svc", "acme", "WF-SVC monthly", 15);
            Some(Standin::new(lmpi))
        }
        "simpleapi" => {
            let market = SimpleApi::new("standin", "standin", "standin", "us");
            Some(Standin::new(market.subscription("1000017", "1000001", "WF-SVC", "TrendMicro", 15)))
        }
        "ion" => {
            let (ion, portal) = Ion::new("2768");
            // The one that it takes first is always `refresh-1`.
            portal.refresh_token();
            Some(Standin::new(ion.subscription("501", "10991", "WF-SVC", 15)))
        }
        "drop" => Some(Standin::new(Drop::new("Bearer standin"))),
        _ => None,
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, address] = arguments.as_slice() else { return said(USAGE, 2) };
    let Some(standin) = standin(name) else { return said(USAGE, 2) };
    let Ok(runtime) = tokio::runtime::Runtime::new() else { return said("no runtime can be started", 1) };
    runtime.block_on(async {
        let listener = match TcpListener::bind(address).await {
            Ok(listener) => listener,
            Err(error) => return said(&format!("failed to listen on {address}: {error}"), 1),
        };
        let at = listener.local_addr().map_or_else(|_| address.clone(), |at| at.to_string());
        let _ = writeln!(std::io::stdout(), "listening on http://{at}");
        match server::serve(listener, standin).await {}
    })
}

fn said(text: &str, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(code)
}
