namespace FieldImnn

open System

/// Choices by weight.
module internal Weighted =
    /// Running sums of weights: what `choose` takes.
    let cumulative (weights: float[]) =
        weights |> Array.scan (+) 0.0 |> Array.tail

    /// The index whose share of all weights a number u in [0, 1) falls into.
    let choose (cumulative: float[]) (u: float) =
        let last = cumulative.Length - 1
        let at = Array.BinarySearch(cumulative, u * cumulative[last])
        min last (if at >= 0 then at + 1 else ~~~at)

    /// Kish's number of samples that count as much as these weighted ones, (Σw)²/Σw².
    let effective (weights: float[]) =
        Array.sum weights ** 2.0 / Array.sumBy (fun w -> w * w) weights

    /// Mean and standard deviation of values under weights of sum one.
    let moments (values: float[]) (weights: float[]) =
        let mean = Array.fold2 (fun s v w -> s + v * w) 0.0 values weights

        let variance =
            Array.fold2 (fun s v w -> s + w * (v - mean) * (v - mean)) 0.0 values weights

        mean, sqrt variance

    /// The largest difference of the distribution functions of two sets of values under weights (Kolmogorov and Smirnov's).
    let distance (a: float[], weightsOfA: float[]) (b: float[], weightsOfB: float[]) =
        let part sign (weights: float[]) =
            let sum = Array.sum weights
            weights |> Array.map (fun w -> sign * w / sum)

        Array.zip (Array.append a b) (Array.append (part 1.0 weightsOfA) (part -1.0 weightsOfB))
        |> Array.groupBy fst // equal values are one jump
        |> Array.sortBy fst
        |> Array.scan (fun sum (_, equal) -> sum + Array.sumBy snd equal) 0.0
        |> Seq.map abs
        |> Seq.max

    /// The interquartile range of values under weights.
    let quartiles (values: float[]) (weights: float[]) =
        let order = Array.init values.Length id
        Array.Sort(Array.copy values, order)
        let sums = order |> Array.map (fun i -> weights[i]) |> cumulative
        let at u = values[order[choose sums u]]
        at 0.75 - at 0.25
