//! Which pose belongs to which track: the pairs with the largest sum of similarities.

use pathfinding::{kuhn_munkres::kuhn_munkres, matrix::Matrix};

/// Pairs (row, column) of the best assignment, in the order of rows, without those below `least`. `similarity(row, column)`
/// is 0 to 1.
pub fn assign(
    rows: usize,
    columns: usize,
    least: f32,
    similarity: impl Fn(usize, usize) -> f32,
) -> Vec<(usize, usize)> {
    if rows == 0 || columns == 0 {
        return Vec::new();
    }
    // Whole numbers, because the algorithm needs a total order, which floats lack. A similarity below `least` counts as 0,
    // so that it does not displace a good pair.
    let weight = |row: usize, column: usize| {
        let similarity = similarity(row, column);
        if similarity >= least { (similarity * 1e6) as i64 } else { 0 }
    };
    // The algorithm requires no more rows than columns.
    let turned = rows > columns;
    let (height, width) = if turned { (columns, rows) } else { (rows, columns) };
    let weights =
        Matrix::from_fn(
            height,
            width,
            |(row, column)| {
                if turned { weight(column, row) } else { weight(row, column) }
            },
        );
    let (_, columns_of) = kuhn_munkres(&weights);
    let mut pairs: Vec<_> = columns_of
        .into_iter()
        .enumerate()
        .filter(|(row, column)| weights[(*row, *column)] > 0)
        .map(|(row, column)| if turned { (column, row) } else { (row, column) })
        .collect();
    pairs.sort_unstable();
    pairs
}
