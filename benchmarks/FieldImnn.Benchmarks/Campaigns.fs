/// What a campaign costs: adding simulations to it against making them, and taking them from it against having them in memory.
module Campaigns

open System.IO
open FieldImnn
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open TorchSharp

let private count, chunk = 1000, 200

let private inChunks (work: int -> int -> Tensor) =
    let mutable sum = 0.0

    for struct (start, length) in Tensors.chunks chunk count do
        sum <- sum + Tensors.using (fun () -> Tensors.toNumber ((work start length).sum()))

    [| sum |]

let run alternations =
    let problem = PowerLaw.create 128 ModeConvention.Ideal
    let theta = Tensors.ofVector problem.Fiducial
    let folder = Directory.CreateTempSubdirectory("fieldimnn-").FullName

    let joined adds name =
        Campaign.join
            { CampaignSettings.In(Path.Combine(folder, name)) with
                Adds = adds }
            problem.Prior
            problem.Simulator
        |> Campaign.simulator

    let make simulator seed start length =
        Simulator.fields simulator theta (NoiseKey.Range(seed, uint64 (start: int), length))

    try
        let mutable seed = 100UL
        let adding = joined true "adding"

        let added () =
            seed <- seed + 1UL // simulations that are not there
            inChunks (make adding seed)

        inChunks (make (joined true "filled") 1UL) |> ignore
        let filled = joined false "filled"

        let memory =
            Simulator.fields problem.Simulator theta (NoiseKey.Range(1UL, 0UL, count))

        let slices = Slices.ofTensor memory

        [ Ratio.cost "simulating and adding to a campaign, against simulating" 2.0 alternations added (fun () ->
              inChunks (make problem.Simulator seed))
          { Ratio.compare
                "fields of a campaign, against the same in memory"
                2.0
                alternations
                (fun () -> inChunks (make filled 1UL))
                (fun () -> inChunks (fun start length -> Slices.range start length slices)) with
              AtMost = true } ]
    finally
        Directory.Delete(folder, true)
