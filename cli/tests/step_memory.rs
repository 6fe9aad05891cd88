//! The memory of a training step, as it is measured and as it was planned: within a tenth, also of small networks.

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::images::npy;
use support::{NUCLEI, folder, shown, succeed, words, write};

const NUCLEI_3D: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/data/nuclei3d");

/// Trains a few steps, and compares.
fn check(out: &Path, name: &str, network: &[&str], data: &[&str]) {
    let run = shown(out, name);
    let options = [&["--data"], data, &["--out", &run], network].concat();
    check_training(name, &words("train --json --epochs 1 --steps 4", &options));
}

/// The same of a training with these arguments.
fn check_training(name: &str, arguments: &[String]) {
    let text = succeed(arguments);
    let mut lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let memory = lines.find_map(|line| line.get("memory").cloned());
    let memory = memory.expect("the memory of a step");
    let [peak, planned] = ["peak", "planned"].map(|key| memory[key].as_f64().expect("bytes"));
    let off = peak / planned - 1.0;
    assert!(
        off.abs() < 0.1,
        "{name}: {peak} bytes, {planned} planned: {off:+.3}"
    );
}

fn unet(out: &Path, name: &str, widths: &str) -> String {
    let net = format!(r#"{{"Unet": {{"in_channels": 1, "widths": {widths}, "out_channels": 1}}}}"#);
    write(out, &format!("{name}.json"), net)
}

#[test]
fn small_networks_on_images_take_what_is_planned() {
    let out = folder("step_memory");
    let data = [NUCLEI];
    for (name, widths) in [("8", "[8, 16]"), ("16", "[16, 32]"), ("64", "[16, 32, 64]")] {
        check(&out, name, &[&unet(&out, name, widths)], &data);
    }
    check(&out, "default", &[], &data);
}

#[test]
fn volumes_take_what_is_planned() {
    let out = folder("step_memory_3d");
    let data = [NUCLEI_3D, "--crop", "16x48x40", "--batch", "4"];
    for (name, widths) in [("8", "[8, 16]"), ("64", "[16, 32, 64]")] {
        check(&out, name, &[&unet(&out, name, widths)], &data);
    }
}

#[test]
fn an_optimizer_of_large_weights_takes_what_is_planned() {
    let out = folder("step_memory_resnet");
    let resnet = ["--encoder", "resnet18", "--decoder", "unet"];
    check(&out, "maps", &resnet, &[NUCLEI]);
    let small = [NUCLEI, "--crop", "32", "--batch", "1"];
    check(&out, "weights", &resnet, &small);
    // A resumed training has no copy of its first weights.
    let run = shown(&out, "maps");
    let resume = words("train --json --resume --epochs 2 --out", &[&run]);
    check_training("resumed", &resume);
}

#[test]
fn the_loss_of_many_classes_takes_what_is_planned() {
    let out = folder("step_memory_classes");
    const SIDE: usize = 128;
    let classes: Vec<f32> = (0..SIDE * SIDE).map(|n| (n / 16 % 10) as f32).collect();
    for part in ["images", "masks"] {
        fs::create_dir_all(out.join("data").join(part)).expect("a folder");
        write(
            &out,
            &format!("data/{part}/a.npy"),
            npy(&[SIDE, SIDE], &classes),
        );
    }
    let net = r#"{"Unet": {"in_channels": 1, "widths": [8, 16], "out_channels": 10}}"#;
    let net = write(&out, "net.json", net);
    let data = shown(&out, "data");
    check(&out, "ten", &[&net], &[&data]);
    let lovasz = r#"{"Lovasz": {"mode": "MultiClass"}}"#;
    check(&out, "lovasz", &[&net], &[&data, "--loss", lovasz]);
}
