//! What do the other caches for tower take for the same work?
//!
//! One process, all of them in turn: a hit at three sizes, a miss, a request that is left alone, a thousand misses at
//! once, and the first of them leaving. Then the parts of a hit of microcache. `-- --write` puts the tables on the page
//! on performance.
//!
//! ```text
//! cargo bench --manifest-path benches/peers/Cargo.toml
//! ```

mod caches;
#[path = "../common/mod.rs"]
mod common;
mod hits;
#[path = "../common/machine.rs"]
mod machine;
mod misses;
#[path = "../common/page.rs"]
mod page;
mod parts;
mod stampede;
mod turns;

fn main() {
    let mut text = format!("Measured on {}; load {} at the start.\n\n", machine::machine(), machine::load());
    eprintln!("peers: hits");
    text += &hits::tables();
    eprintln!("peers: misses");
    text += &misses::table();
    eprintln!("peers: stampedes");
    text += &stampede::table();
    page::publish("peers", &text);
    eprintln!("peers: parts of a hit");
    page::publish("parts", &parts::table());
}
