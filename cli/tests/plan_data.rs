//! `burn-skip plan-data`, and the training that it proposes.

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::images::nifti;
use support::{NUCLEI, epochs, fail, folder, shown, succeed, words, write};

const SIZE: [usize; 3] = [10, 24, 40];

/// Two volumes with slices that are four times as far apart as their pixels, of three classes.
fn volumes(folder: &Path) -> String {
    for part in ["images", "masks"] {
        fs::create_dir_all(folder.join(part)).expect("a folder");
    }
    let count: usize = SIZE.iter().product();
    for seed in 0..2 {
        let mask: Vec<f32> = (0..count).map(|n| ((n / 8 + seed) % 3) as f32).collect();
        let image: Vec<f32> = mask
            .iter()
            .enumerate()
            .map(|(n, mask)| 40.0 * mask + (n % 7) as f32)
            .collect();
        let spacing = [4.0, 1.0, 1.0];
        write(
            folder,
            &format!("images/{seed}.nii.gz"),
            nifti_gz(&spacing, &image),
        );
        write(
            folder,
            &format!("masks/{seed}.nii.gz"),
            nifti_gz(&spacing, &mask),
        );
    }
    folder.display().to_string()
}

/// (What is not compressed is read under this name, too.)
fn nifti_gz(spacing: &[f32], values: &[f32]) -> Vec<u8> {
    nifti(&SIZE, spacing, values)
}

fn read(out: &Path, name: &str) -> Value {
    let text = fs::read_to_string(out.join(name)).expect("a file");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn what_is_proposed_for_volumes_is_trained() {
    let out = folder("plan_data");
    let data = volumes(&out.join("data"));
    let plan = shown(&out, "plan");
    let options = "plan-data --width 4 --memory 0.5 --out";
    let text = succeed(&words(options, &[&plan, &data]));
    for line in [
        "spacing: 4,1,1 mm (depth,height,width) in the median",
        "resampling: to the spacing 4,1,1 mm (depth,height,width), the median: 0 of 2 volumes change in size",
        "masks: 3 classes, of the pixels 0: 3",
        "kernels: 1x3x3",
        "1 on axes whose pixels are twice as far apart",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let net = read(&out.join("plan"), "net.json");
    let stages = &net["Segmentation"]["encoder"]["Staged"]["stages"];
    assert_eq!(stages[0]["kernel_size"], serde_json::json!([1, 3, 3]));
    assert_eq!(stages[1]["stride"], serde_json::json!([1, 2, 2]));
    assert_eq!(net["Segmentation"]["out_channels"], 3);

    let run = shown(&out, "run");
    let [net, options] = ["plan/net.json", "plan/train.json"].map(|name| shown(&out, name));
    let train = "train --quiet --epochs 1 --steps 2 --data";
    succeed(&words(
        train,
        &[&data, &net, "--options", &options, "--out", &run],
    ));
    assert_eq!(epochs(Path::new(&run)).len(), 1);

    // Nothing is replaced unasked, and too little memory is said with what is needed.
    let text = fail(&words("plan-data --out", &[&plan, &data]));
    assert!(
        text.contains("net.json is there already. Pass --overwrite"),
        "{text}"
    );
    let text = fail(&words(
        "plan-data --overwrite --memory 0.00001 --out",
        &[&plan, &data],
    ));
    assert!(
        text.contains("are too few: 2 crops of") && text.contains("--width"),
        "{text}"
    );
}

#[test]
fn a_step_of_the_proposal_needs_what_was_given_or_less() {
    let out = folder("plan_data_memory");
    let mut crops = Vec::new();
    for memory in ["0.05", "0.2", "1"] {
        let plan = shown(&out, memory);
        let options = [
            "plan-data",
            "--json",
            "--memory",
            memory,
            "--out",
            &plan,
            NUCLEI,
        ];
        let text = succeed(&options);
        let found: Value = serde_json::from_str(&text).expect("one JSON object");
        let given = memory.parse::<f64>().expect("a number") * f64::from(1 << 30);
        let bytes = found["bytes"].as_f64().expect("a number");
        assert!(bytes <= given && bytes > 0.5 * given, "{bytes} of {given}");
        let crop = found["train"]["crop"].as_array().expect("lengths").clone();
        crops.push(
            crop.iter()
                .map(|length| length.as_u64().expect("a length"))
                .product::<u64>(),
        );
    }
    assert!(crops.is_sorted(), "{crops:?}");
}
