namespace FieldImnn

open System
open FieldImnn.Core

/// One of several processes that share the work of filling a campaign: number `Number` of `Of`, from 1.
type Shard = { Number: int; Of: int }

/// Shares of planned simulations.
module Shard =
    /// The only one.
    let whole = { Number = 1; Of = 1 }

    /// "3/8".
    let parse (text: string) : Shard =
        match text.Split '/' |> Array.map Int32.TryParse with
        | [| true, number; true, all |] when 1 <= number && number <= all -> { Number = number; Of = all }
        | _ -> raise (SettingException("shard", "i/n, a whole number i from 1 to n", text))

    /// The shard's share of n simulations, (start, length): those of all shards differ by one at the most, and follow one another.
    let share shard n : struct (int * int) =
        let at k =
            int (int64 k * int64 n / int64 shard.Of)

        struct (at (shard.Number - 1), at shard.Number - at (shard.Number - 1))

    /// Makes what the campaign lacks of the shard's share of planned simulations, a chunk at a time. Failed ones are left out where the simulator's policy
    /// says so; where it is cancelled, what was finished stays, and it ends with OperationCanceledException.
    let fill (progress: Progress) (chunk: int) (shard: Shard) (plan: PlannedSimulations list) (campaign: Campaign) =
        Guard.AtLeast("chunk", 1L, int64 chunk) |> ignore
        let simulator = Campaign.simulator campaign

        let parts =
            [| for planned in plan do
                   let struct (start, length) = share shard planned.Count

                   for struct (first, size) in Tensors.chunks chunk length do
                       struct (planned, start + first, size) |]

        parts
        |> Array.iteri (fun i (struct (planned, start, length)) ->
            progress.Cancellation.ThrowIfCancellationRequested()

            Progress.report
                progress
                $"shard {shard.Number}/{shard.Of}"
                i
                parts.Length
                [ "simulations", float (Campaign.used campaign).Made ]
                $"{planned.Purpose}, {(Campaign.used campaign).Made} made"

            let keys, theta = Planned.part start length planned

            Tensors.using (fun () ->
                match planned.Derivatives with
                | Some(FiniteDifference _ as differences) ->
                    Simulator.withDerivatives simulator differences (Tensors.ofVector theta[0]) keys
                    |> ignore
                | derivatives ->
                    let missing = Campaign.missing campaign derivatives.IsSome keys theta
                    Campaign.count campaign (keys.Length - missing.Length) 0

                    if missing.Length > 0 then
                        let keys = missing |> Array.map (fun i -> keys[i])

                        match derivatives with
                        | Some rule ->
                            Simulator.withDerivatives simulator rule (Tensors.ofVector theta[0]) keys
                            |> ignore
                        | None ->
                            let rows =
                                if theta.Length = 1 then
                                    theta
                                else
                                    missing |> Array.map (fun i -> theta[i])

                            Simulator.survivors simulator (Tensors.ofRows rows) keys |> ignore))

        let made = (Campaign.used campaign).Made
        Progress.news progress $"shard {shard.Number}/{shard.Of}" [ "simulations", float made ] $"{made} made"
