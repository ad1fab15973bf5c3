/// What compresses: features by a name that the command line knows, and how they are trained.
module Candidate

open FieldImnn
open FieldImnn.Core

/// Features with their settings for one universe.
type Candidate =
    { Name: string; Settings: ImnnSettings }

/// The default, told nothing.
let byDefault =
    { Name = "default"
      Settings = ImnnSettings.Default }

/// The default with some of its settings changed: "means=4,scales=1".
let changed (text: string) =
    let change (features: Features) (assignment: string) =
        match assignment.Split '=' with
        | [| name; value |] when features.Settings.ContainsKey name ->
            { features with
                Settings = features.Settings.Add(name, float value) }
        | _ ->
            let known = ImnnSettings.Default.Features.Settings.Keys |> String.concat ", "

            raise (
                SettingException(
                    "changed setting of the default features",
                    $"NAME=NUMBER, NAME one of {known}",
                    assignment
                )
            )

    { Name = text
      Settings =
        { ImnnSettings.Default with
            Features = text.Split ',' |> Array.fold change ImnnSettings.Default.Features } }

/// All candidates of a universe.
let all (universe: Universe.Universe) =
    [ byDefault
      for name, settings in universe.Told do
          { Name = name; Settings = settings } ]
