namespace FieldImnn.Plots

open FieldImnn
open FieldImnn.Core
open Plotly.NET

/// Fields of one to three dimensions and any number of channels: a curve, an image or three planes for each channel.
module internal FieldPanels =
    let private name title channels c =
        if channels = 1 then title else $"{title}, channel {c + 1}"

    let private plain title image =
        { Title = title
          Colours = Field.coloursFor title
          Limits = None
          Bar = true
          AxisX = "x [pixel]"
          AxisY = "y [pixel]"
          Values = image }

    let private image title (field: FieldValues) =
        let rows, columns = field.Shape[0], field.Shape[1]
        plain title (Array2D.init rows columns (fun i j -> field.Values[i * columns + j]))

    /// The three central planes of a volume of axes (z, y, x), in one scale of colours.
    let private planes title (field: FieldValues) =
        let a, b, c = field.Shape[0], field.Shape[1], field.Shape[2]
        let at i j k = field.Values[(i * b + j) * c + k]

        let cut =
            [ $"z = {a / 2}", "x [pixel]", "y [pixel]", Array2D.init b c (fun j k -> at (a / 2) j k)
              $"y = {b / 2}", "x [pixel]", "z [pixel]", Array2D.init a c (fun i k -> at i (b / 2) k)
              $"x = {c / 2}", "y [pixel]", "z [pixel]", Array2D.init a b (fun i j -> at i j (c / 2)) ]

        let colours = Field.coloursFor title

        let limits =
            cut |> List.map (fun (_, _, _, values) -> values) |> Field.shared colours

        cut
        |> List.mapi (fun n (place, x, y, values) ->
            { plain $"{title}, {place}" values with
                Limits = Some limits
                Bar = (n = 2)
                AxisX = x
                AxisY = y })

    /// Curves of one dimension, a panel for each, one above the other.
    let private lines (content: (string * float[]) list) =
        let width, height, gap = 720.0, 150.0, 52.0
        let frame, place = Style.grid 1 content.Length (width, height) (0.0, gap) 40

        let frame = { frame with MarginLeft = 84 }

        let placed = content |> List.mapi (fun k (title, values) -> place k, title, values)

        let traces =
            placed
            |> List.map (fun (panel, title, values) ->
                let x = Array.init values.Length float
                Corner.curve panel (Palette.line 0) title false StyleParam.DrawingStyle.Solid 1.2 x values)

        let axes =
            placed
            |> List.map (fun (panel, _, values) ->
                let last = panel.Id = content.Length
                let low, high = Array.min values, Array.max values
                let room = if high > low then 0.06 * (high - low) else 1.0

                Style.withPanel
                    frame
                    panel
                    ((if last then "x [pixel]" else ""),
                     Style.range (0.0, float (values.Length - 1))
                     >> Style.ticks 9
                     >> (if last then id else Style.noTickLabels))
                    ("", Style.range (low - room, high + room) >> Style.ticks 5))

        let headings =
            placed |> List.map (fun (panel, title, _) -> Style.heading frame panel title)

        Style.figure frame traces (axes @ [ Layout.style (Annotations = headings) ])

    let chart (content: (string * FieldValues) list) =
        if content.IsEmpty then
            raise (SettingException("fields", "at least one", "none"))

        let dimensions = (FieldValues.sides (snd content.Head)).Length

        for title, field in content do
            let own = (FieldValues.sides field).Length

            if own <> dimensions then
                raise (ShapeException("fields of one figure", $"{dimensions} sides, as the first", $"{own} of {title}"))

        let channels =
            content
            |> List.map (fun (title, field) ->
                FieldValues.channels field
                |> List.mapi (fun c one -> name title field.Channels c, one))

        match dimensions with
        | 1 ->
            channels
            |> List.concat
            |> List.map (fun (title, one) -> title, one.Values)
            |> lines
        | 2 ->
            let rows = channels |> List.map (List.map (fun (title, one) -> image title one))

            // fields of one channel stand side by side
            if rows |> List.forall (fun row -> row.Length = 1) then
                Field.rows (if rows.Length > 1 then 280.0 else 460.0) [ List.concat rows ]
            else
                Field.rows 260.0 rows
        | _ ->
            channels
            |> List.concat
            |> List.map (fun (title, one) -> planes title one)
            |> Field.rows 250.0
