namespace FieldImnn

open System
open System.Collections.Generic
open System.IO
open System.Text.Json.Nodes
open FieldImnn.Core

/// What is kept of a simulation in a campaign.
type Kept = { Fields: bool; Summaries: bool }

/// Reading it from the command line.
module Kept =
    /// Nothing: a campaign is only read.
    let nothing = { Fields = false; Summaries = false }

    /// "fields", "summaries" or "both".
    let parse option (text: string) : Kept =
        match text with
        | "fields" -> { nothing with Fields = true }
        | "summaries" -> { nothing with Summaries = true }
        | "both" -> { Fields = true; Summaries = true }
        | other -> raise (SettingException(option, "fields, summaries or both", other))

/// The campaign of a command: its folder, what this command adds, and what has been joined.
type CampaignFolder =
    { Folder: string
      Adds: Kept
      Label: string
      Joined: List<Campaign> }

/// Commands that take simulations from a campaign, and add to it.
module CampaignFolder =
    /// The campaign in a folder. Files of this process begin with the label.
    let create label adds (folder: string) : CampaignFolder =
        if String.IsNullOrWhiteSpace folder then
            raise (SettingException("--campaign", "the name of a folder", "an empty one"))

        { Folder = folder
          Adds = adds
          Label = label
          Joined = List() }

    /// Takes part with a simulator, fields or summaries.
    let join adds (prior: Prior) (simulator: Simulator) (campaign: CampaignFolder) : Campaign =
        let joined =
            Campaign.join
                { CampaignSettings.In campaign.Folder with
                    Adds = adds
                    Label = campaign.Label
                    Tell = fun what -> eprintfn $"warning: campaign: {what}" }
                prior
                simulator

        campaign.Joined.Add joined
        joined

    let private summariesOf (simulator: Simulator) = $"summaries of {simulator.Name}"

    /// The model whose simulations come from the campaign. Where it is only read, and has nothing of the simulator, that is a StoreException.
    let model (campaign: CampaignFolder) (model: Model) : Model =
        if campaign.Adds = Kept.nothing && not (Directory.Exists campaign.Folder) then
            let found =
                if File.Exists campaign.Folder then
                    "a file"
                else
                    "nothing of that name"

            raise (StoreException($"campaign '{campaign.Folder}'", "a folder of simulations", found))

        let joined = join campaign.Adds.Fields model.Prior model.Simulator campaign
        let contents = Campaign.contents campaign.Folder

        if
            campaign.Adds = Kept.nothing
            && Campaign.isEmpty joined
            && not (List.contains (summariesOf model.Simulator) contents)
        then
            let others =
                match contents with
                | [] -> "none"
                | names ->
                    let listed = names |> List.distinct |> String.concat ", "
                    $"none to the bit or to rounding, but some of {listed}"

            raise (
                StoreException(
                    $"campaign '{campaign.Folder}'",
                    $"simulations of {model.Simulator.Name} as it is now",
                    others
                )
            )

        { model with
            Simulator = Campaign.simulator joined }

    /// The method that takes summaries from the campaign, where those of its compression are kept.
    let method (campaign: CampaignFolder) (inner: Method) : Method =
        fun model compression fields ->
            let joined =
                if
                    campaign.Adds.Summaries
                    || List.contains (summariesOf model.Simulator) (Campaign.contents campaign.Folder)
                then
                    let summaries = Summarised.simulator compression model.Simulator
                    Some(join campaign.Adds.Summaries model.Prior summaries campaign)
                else
                    None

            match joined with
            | Some kept when campaign.Adds.Summaries || not (Campaign.isEmpty kept) ->
                Summarised.method (fun _ -> Campaign.simulator kept) inner model compression fields
            | _ -> inner model compression fields

    /// What came of it: fields first, then summaries.
    let private uses (campaign: CampaignFolder) =
        campaign.Joined |> Seq.map Campaign.used |> List.ofSeq

    /// As JSON.
    let report (campaign: CampaignFolder) : JsonNode =
        let uses = uses campaign

        let texts (of': CampaignUse -> string list) : JsonNode =
            JsonArray(
                uses
                |> List.collect of'
                |> List.distinct
                |> List.map Report.value
                |> Array.ofList
            )

        Report.fields
            [ "folder", Report.value campaign.Folder
              "found", Report.value (uses |> List.sumBy _.Found)
              "made", Report.value (uses |> List.sumBy _.Made)
              "damaged", texts _.Damaged
              "rounded", texts _.Rounded ]

    /// In a line, and a line for each folder whose simulations are not of this processor's bits.
    let print (campaign: CampaignFolder) =
        let uses = uses campaign
        printfn $"campaign: {uses |> List.sumBy _.Found} simulations found, {uses |> List.sumBy _.Made} made"

        for folder in uses |> List.collect _.Rounded |> List.distinct do
            printfn
                $"warning: simulations in {folder} were made where fields round otherwise: the same, but not to the bit"
