//! Weights and inputs by a formula that `scripts/formula.py` computes too, so that whole networks can
//! be compared without storing their weights.

/// `(mix(fnv1a64(name) + seed C + (i + 1) G) >> 40) / 2^23 - 1`, in `[-1, 1)` and exact in f32.
fn uniform(name: &str, seed: u64, count: usize) -> impl Iterator<Item = f64> {
    let hash = name.bytes().fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    let start = hash.wrapping_add(seed.wrapping_mul(0xD1B5_4A32_D192_ED03));
    (1..=count as u64).map(move |i| {
        let mut z = i.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(start);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 40) as f64 / f64::from(1 << 23) - 1.0
    })
}

/// An input or a target.
pub fn data(name: &str, seed: u64, count: usize) -> Vec<f32> {
    uniform(name, seed, count).map(|u| u as f32).collect()
}

/// The tensor of a state dict with this name and shape, in PyTorch's layout. The scale of a norm whose
/// name ends with `damped` is a quarter, and so are the factors of channels of ConvNeXt's blocks.
pub fn weight(name: &str, shape: &[usize], seed: u64, damped: &str) -> Vec<f32> {
    let is_damped = !damped.is_empty() && name.ends_with(damped);
    let value = |u: f64| match name.rsplit('.').next() {
        Some("running_var") => 1.0 + 0.5 * u,
        Some("running_mean") => 0.1 * u,
        Some("layer_scale" | "gamma") => 0.25 * (1.0 + 0.25 * u),
        _ if shape.len() >= 2 => {
            let fan_in: usize = shape[1..].iter().product();
            u * (6.0 / fan_in as f64).sqrt()
        }
        Some("weight") => (1.0 + 0.25 * u) * if is_damped { 0.25 } else { 1.0 },
        Some("bias") => 0.1 * u,
        _ => panic!("no formula for {name} {shape:?}"),
    };
    let count = shape.iter().product();
    uniform(name, seed, count)
        .map(|u| value(u) as f32)
        .collect()
}
