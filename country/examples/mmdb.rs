//! Writes the country database of the benchmarks: `cargo run --release --example mmdb -- FILE`

#[path = "../benches/generate.rs"]
mod generate;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file] = arguments.as_slice() else { return Err("usage: mmdb FILE".into()) };
    std::fs::write(file, generate::database())?;
    Ok(())
}
