//! Has the hub compiled anew when the console was built anew: its files are embedded in optimised builds.
//!
//! Must not know: how the console is built (`cargo xtask web`); building the hub needs no Node.

fn main() {
    println!("cargo:rerun-if-changed=../../web/dist");
}
