namespace FieldImnn

open System
open System.Text
open System.Text.RegularExpressions
open FieldImnn.Core

/// The command of a program that simulates: its words, and what is put into them.
module internal ProgramCommand =
    /// A command line as the list of its words: separated by spaces, which quotes (' or ") keep. There is no shell, and nothing else is special.
    let split (commandLine: string) : string list =
        let words = ResizeArray<string>()
        let word = StringBuilder()
        let mutable quote = None
        let mutable within = false

        let finish () =
            if within then
                words.Add(word.ToString())
                word.Clear() |> ignore
                within <- false

        for c in commandLine do
            match quote with
            | Some q when c = q -> quote <- None
            | None when c = '\'' || c = '"' ->
                quote <- Some c
                within <- true
            | None when Char.IsWhiteSpace c -> finish ()
            | _ ->
                word.Append c |> ignore
                within <- true

        if quote.IsSome then
            raise (SettingException("command line of the program", "closing quotes", commandLine))

        finish ()
        List.ofSeq words

    let private placeholder =
        Regex(@"\{([^{}\s""':,]+)\}", RegexOptions.CultureInvariant)

    let private placeholders command =
        command
        |> Seq.collect (fun word -> placeholder.Matches word |> Seq.map _.Groups[1].Value)
        |> Set.ofSeq

    /// Refuses a command that does not say where θ, the seed and the output go.
    let check (parameters: string list) (command: string list) =
        let words = placeholders command

        let refuse received =
            raise (
                SettingException(
                    "command of the program",
                    "{theta} (or {NAME} of every parameter), {seed} and {out} in its arguments",
                    received
                )
            )

        if command.IsEmpty || command.Head.Trim() = "" then
            refuse "no program"

        let known = [ "theta"; "seed"; "out" ] @ parameters

        match words |> Set.toList |> List.filter (fun w -> not (List.contains w known)) with
        | [] -> ()
        | unknown :: _ -> refuse $"{{{unknown}}}, which is none of these"

        let missing =
            [ if not (words.Contains "theta") then
                  yield! parameters |> List.filter (words.Contains >> not)
              yield! [ "seed"; "out" ] |> List.filter (words.Contains >> not) ]

        if not missing.IsEmpty then
            let absent = missing |> List.map (sprintf "{%s}") |> String.concat ", "
            refuse $"none of {absent}"

    /// The command of one simulation.
    let words (parameters: string[]) (command: string list) (theta: float[]) (seed: int) (out: string) =
        let value =
            function
            | "theta" -> theta |> Array.map Text.number |> String.concat ","
            | "seed" -> string seed
            | "out" -> out
            | name -> Text.number theta[Array.IndexOf(parameters, name)]

        command
        |> List.map (fun word -> placeholder.Replace(word, (fun m -> value m.Groups[1].Value)))
