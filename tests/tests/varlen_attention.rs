//! Attention over packed sequences: the bits of its reference for ragged lengths and any number of
//! threads; those of the attention of one shape where all lengths are equal.
#![forbid(unsafe_code)]

use kernels::attention::{self, attention, attention_backward};
use kernels::varlen_attention::{
    Shape, varlen_attention, varlen_attention_backward, varlen_attention_backward_ref,
    varlen_attention_ref,
};
use kernels::{Write, parallel};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tests::values::{FLAVOURS, Flavour, Values};

const WRITES: [Write; 2] = [Write::Set, Write::Add];

#[track_caller]
fn same(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let equal = g.to_bits() == w.to_bits() || (g.is_nan() && w.is_nan());
        assert!(equal, "{what}: element {i} is {g:e}, its reference {w:e}");
    }
}

/// What the queries of some sequences see, and how many queries and keys there are. Each sequence is
/// (queries, keys); a causal query j of t sees the keys up to j + keys − t. `gap` rows that nobody sees
/// stand before each sequence's keys.
fn seen(lengths: &[(usize, usize)], causal: bool, gap: usize) -> (Vec<u32>, usize, usize) {
    let (mut seen, mut keys) = (Vec::new(), 0);
    for &(tq, tk) in lengths {
        keys += gap;
        for j in 0..tq {
            let count = if causal { j + 1 + tk - tq } else { tk };
            seen.extend([keys as u32, count as u32]);
        }
        keys += tk;
    }
    (seen, lengths.iter().map(|t| t.0).sum(), keys)
}

fn lengths(n: usize, causal: bool, values: &mut Values) -> Vec<(usize, usize)> {
    let mut draw = |most: u64| 1 + (values.bits() % most) as usize;
    (0..n)
        .map(|_| {
            let tq = draw(7);
            (tq, if causal { tq + draw(3) - 1 } else { draw(9) })
        })
        .collect()
}

fn check(lengths: &[(usize, usize)], causal: bool, gap: usize, s: Shape, values: &mut Values) {
    let (seen, queries, keys) = seen(lengths, causal, gap);
    check_seen(&seen, queries, keys, s, values);
}

fn check_seen(seen: &[u32], queries: usize, keys: usize, s: Shape, values: &mut Values) {
    let d = s.h * s.e;
    let [q, dz, old_q] = [(); 3].map(|()| values.vec(queries * d));
    let [k, v, old_k, old_v] = [(); 4].map(|()| values.vec(keys * d));
    let (mut z, mut p) = (vec![f32::NAN; queries * d], vec![f32::NAN; queries * s.h * s.max_keys]);
    let (mut want_z, mut want_p) = (z.clone(), p.clone());
    varlen_attention(&q, &k, &v, seen, &mut z, &mut p, s);
    varlen_attention_ref(&q, &k, &v, seen, &mut want_z, &mut want_p, s);
    same(&format!("pattern of {seen:?} {s:?}"), &p, &want_p);
    same(&format!("z of {seen:?} {s:?}"), &z, &want_z);
    for bits in 0..8 {
        let write = [0, 1, 2].map(|i| WRITES[bits >> i & 1]);
        let start = |empty: f32| {
            let one = |write, old: &[f32]| match write {
                Write::Add => old.to_vec(),
                Write::Set => vec![empty; old.len()],
            };
            [one(write[0], &old_q), one(write[1], &old_k), one(write[2], &old_v)]
        };
        let ([mut dq, mut dk, mut dv], [mut want_q, mut want_k, mut want_v]) =
            (start(f32::NAN), start(0.0));
        let d = (&mut dq[..], &mut dk[..], &mut dv[..]);
        varlen_attention_backward((&q, &k, &v), seen, &p, &dz, d, write, s);
        let d = (&mut want_q[..], &mut want_k[..], &mut want_v[..]);
        varlen_attention_backward_ref((&q, &k, &v), seen, &p, &dz, d, s);
        same(&format!("dq of {seen:?} {s:?} {write:?}"), &dq, &want_q);
        same(&format!("dk of {seen:?} {s:?} {write:?}"), &dk, &want_k);
        same(&format!("dv of {seen:?} {s:?} {write:?}"), &dv, &want_v);
    }
}

#[test]
fn ragged_sequences_have_the_bits_of_the_reference() {
    for flavour in FLAVOURS {
        let mut values = Values::new(1, flavour);
        for (h, e) in
            [(1, 1), (1, 16), (3, 5), (4, 32), (8, 32), (2, 64), (1, 65), (17, 3), (33, 2)]
        {
            for (n, causal, gap) in [(0, true, 0), (1, false, 0), (5, true, 0), (6, false, 2)] {
                let lengths = lengths(n, causal, &mut values);
                check(&lengths, causal, gap, Shape { h, e, max_keys: 9 }, &mut values);
            }
            check(&[(1, 1); 3], true, 0, Shape { h, e, max_keys: 1 }, &mut values);
            check(&[(33, 33), (1, 40)], false, 1, Shape { h, e, max_keys: 64 }, &mut values);
        }
    }
}

#[test]
fn long_causal_sequences_and_the_most_keys_have_the_bits_of_the_reference() {
    // Backward, a run of queries is cut where its scores are more than fit on the stack.
    for (h, lengths, causal) in [
        (16, vec![(40, 40), (3, 30), (50, 64)], true),
        (20, vec![(40, 40)], true),
        (16, vec![(64, 64), (2, 2)], false),
        (2, vec![(3, 256), (1, 255)], false),
        (1, vec![(5, 256)], true),
    ] {
        let mut values = Values::new(7, Flavour::Tame);
        let max_keys = lengths.iter().map(|t| t.1).max().unwrap();
        check(&lengths, causal, 1, Shape { h, e: 32, max_keys }, &mut values);
        check(&lengths, causal, 0, Shape { h, e: 16, max_keys }, &mut values);
    }
}

#[test]
fn windows_that_overlap_shrink_and_grow_have_the_bits_of_the_reference() {
    for (h, e) in [(4, 32), (16, 32), (3, 8)] {
        let s = Shape { h, e, max_keys: 12 };
        for seen in [
            &[[0, 5], [0, 3], [0, 3], [0, 7], [2, 4], [4, 8], [4, 1], [12, 1]][..],
            &[[0, 12], [1, 11], [2, 10], [3, 2], [3, 9], [11, 2]],
            &[[3, 1], [3, 2], [3, 1], [8, 5]],
        ] {
            check_seen(&seen.concat(), seen.len(), 13, s, &mut Values::new(8, Flavour::Wild));
        }
    }
}

#[test]
fn threads_do_not_change_bits() {
    for threads in [1, 2, 3, 7] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            for (n, causal, gap, h, e) in
                [(120, true, 0, 4, 32), (120, false, 0, 3, 19), (90, false, 3, 8, 16)]
            {
                let mut values = Values::new(2, Flavour::Wild);
                let lengths = lengths(n, causal, &mut values);
                let s = Shape { h, e, max_keys: 9 };
                let queries: usize = lengths.iter().map(|t| t.0).sum();
                assert!(16 * queries * h * e * s.max_keys >= parallel::FLOOR, "it is not split");
                check(&lengths, causal, gap, s, &mut values);
            }
            // One sequence cannot be split, and two only between them.
            let s = Shape { h: 16, e: 32, max_keys: 40 };
            check(&[(40, 40)], false, 0, s, &mut Values::new(3, Flavour::Tame));
            check(&[(40, 40), (3, 2)], false, 0, s, &mut Values::new(3, Flavour::Tame));
        });
    }
}

#[test]
fn equal_lengths_have_the_bits_of_the_attention_of_one_shape() {
    for (b, tq, tk, h, e, causal) in
        [(6, 5, 5, 4, 32, true), (6, 4, 7, 8, 32, false), (3, 3, 3, 3, 7, true)]
    {
        let (d, mut values) = (h * e, Values::new(4, Flavour::Tame));
        let (q, dz) = (values.vec(b * tq * d), values.vec(b * tq * d));
        let (k, v) = (values.vec(b * tk * d), values.vec(b * tk * d));
        let (seen, ..) = seen(&vec![(tq, tk); b], causal, 0);
        let run = |varlen: bool| {
            let (mut z, mut p) = (vec![0.0; q.len()], vec![0.0; b * h * tq * tk]);
            let (mut dq, mut dk, mut dv) = (z.clone(), vec![0.0; k.len()], vec![0.0; k.len()]);
            let gradients = (&mut dq[..], &mut dk[..], &mut dv[..]);
            if varlen {
                let s = Shape { h, e, max_keys: tk };
                varlen_attention(&q, &k, &v, &seen, &mut z, &mut p, s);
                let write = [Write::Set; 3];
                varlen_attention_backward((&q, &k, &v), &seen, &p, &dz, gradients, write, s);
            } else {
                let s = attention::Shape { tq, tk, h, e, causal };
                attention(&q, &k, &v, &mut z, &mut p, s);
                attention_backward((&q, &k, &v), &p, &dz, gradients, [Write::Set; 3], s);
            }
            [z, dq, dk, dv]
        };
        for (name, (got, want)) in
            ["z", "dq", "dk", "dv"].iter().zip(run(true).iter().zip(&run(false)))
        {
            same(name, got, want);
        }
    }
}

#[test]
fn a_wrong_list_is_answered_with_a_sentence() {
    let s = Shape { h: 2, e: 4, max_keys: 3 };
    let x = vec![0.5; 5 * 8];
    let forward = |seen: &[u32]| {
        let (mut z, mut p) = (vec![0.0; 2 * 8], vec![0.0; 2 * 2 * 3]);
        varlen_attention(&x[..16], &x, &x, seen, &mut z, &mut p, s);
    };
    let backward = |seen: &[u32]| {
        let (mut dq, mut dk, mut dv) = (x[..16].to_vec(), x.clone(), x.clone());
        let d = (&mut dq[..], &mut dk[..], &mut dv[..]);
        let p = [0.0; 12];
        varlen_attention_backward((&x[..16], &x, &x), seen, &p, &x[..16], d, [Write::Set; 3], s);
    };
    forward(&[0, 1, 2, 3]);
    let sentence = |f: &dyn Fn(&[u32]), seen: &[u32]| {
        let panic = catch_unwind(AssertUnwindSafe(|| f(seen))).expect_err("a sentence");
        panic
            .downcast_ref::<String>()
            .cloned()
            .unwrap_or_else(|| (*panic.downcast_ref::<&str>().expect("a sentence")).to_owned())
    };
    assert!(sentence(&forward, &[0, 1]).contains("2 queries: 2 entries, expected (first, count)"));
    assert!(sentence(&forward, &[0, 1, 2, 0]).contains("query 1 sees 0 keys"));
    assert!(sentence(&forward, &[0, 1, 0, 4]).contains("query 1 sees 4 keys from row 0 on"));
    assert!(sentence(&forward, &[4, 2, 0, 1]).contains("query 0 sees 2 keys from row 4 on, of 5"));
    assert!(sentence(&backward, &[2, 1, 0, 1]).contains("queries in the order of their keys"));
}
