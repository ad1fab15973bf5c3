namespace FieldImnn.Plots

open FieldImnn
open Plotly.NET

/// The figures of this library: arrays and records in, Plotly.NET charts out. Each has a natural size (`Plot.size`), and takes a
/// caption and another size in a pipeline: `Plot.corner layers truth |> Plot.withCaption "…" |> Export.save folder name (800, 600)`.
/// Titles, names and captions may hold Unicode and the tags sub, sup, b and i.
module Plot =
    /// Width and height in pixels, without the caption.
    let size (chart: GenericChart) : int * int = Caption.size chart

    /// The chart at another width and height in pixels; a caption comes below, in addition. Fields keep their square pixels.
    let withSize (dimensions: int * int) (chart: GenericChart) : GenericChart = Caption.withSize dimensions chart

    /// Adds a caption under the figure, wrapped to its width; the chart grows by the height of the caption.
    let withCaption (text: string) (chart: GenericChart) : GenericChart = Caption.withCaption text chart

    /// Fields side by side with the given colours, each with its own colour bar. Rows count upwards.
    let panels (content: (string * FieldColours * float[,]) list) : GenericChart =
        Field.panels (if content.Length > 1 then 280.0 else 460.0) content

    /// Fields of one to three dimensions, as `Simulator.values` gives them: curves, images side by side, or the three central planes of
    /// volumes; of several channels, a panel for each. Those with ∂ in the title are derivatives and get diverging colours about zero, others
    /// sequential ones.
    let fields (content: (string * FieldValues) list) : GenericChart = FieldPanels.chart content

    /// One field.
    let field (title: string) (values: FieldValues) : GenericChart = fields [ title, values ]

    /// det F against iteration: per curve, the training batch (faint) and simulations never trained on (bold, with markers).
    /// References are dashed lines, labelled at the right. What is not finite and positive is left out.
    let training (curves: (string * TrainingRecord[]) list) (references: (string * float) list) : GenericChart =
        Training.chart curves references

    /// Posteriors over each other: marginal densities, and below the diagonal the 68 % and 95 % credible regions (HPD). The first
    /// layer is filled; the truth is dashed. Axes are shared, and a layer six times wider than the narrowest does not set their range.
    /// One layer alone is `[ ("ABC", posterior) ]`: without the parentheses the compiler wonders about a list of one pair (FS3886).
    let corner (layers: (string * Posterior) list) (truth: float[] option) : GenericChart = Corner.chart layers truth

    /// Observed fields in a row on one colour scale, and under each the 68 % and 95 % credible regions (HPD) of its two parameters, on
    /// axes that all share, with the truth and named points marked.
    let targets (content: Target list) (truth: float[] option) (fiducials: (string * float[]) list) : GenericChart =
        Targets.chart content truth fiducials

    /// Curves against each other on one pair of axes, each linear or logarithmic: `Plot.curves xAxis yAxis curves`.
    let curves (x: CurveAxis) (y: CurveAxis) (content: Curve list) : GenericChart = Curves.chart x y content

    /// The 68 % and 95 % credible regions (HPD) of two parameters, in panels (title, layers, truth) of so many columns, with the
    /// names of both axes. A name has one colour throughout; the first layer of a panel is filled, its truth is dashed, and all its layers are in view.
    let contours
        columns
        (axes: string[])
        (panels: (string * (string * Posterior) list * float[] option) list)
        : GenericChart =
        Contours.chart columns axes panels

    /// Network outputs (above) and score estimates (below, with the 1:1 line) against the true parameters, one column for each.
    let summaries (names: string[]) (theta: float[][]) (raw: float[][]) (estimates: float[][]) : GenericChart =
        Summaries.chart names theta raw estimates

    /// Curves with bands over a logarithmic abscissa, in panels side by side; a dashed line is where an ideal curve would lie.
    let bands (abscissa: string) (panels: BandPanel list) : GenericChart = Bands.chart abscissa panels

    /// Histograms of the ranks of the truth (parts of one) in panels (title, parameter, ranks) of so many columns, with the band that
    /// holds a bin of a calibrated inference with a probability of 95 %.
    let ranks (bins: int) (columns: int) (panels: (string * string * float[]) list) : GenericChart =
        CalibrationPlot.ranks bins columns panels

    /// How often regions hold the truth against their credibility (expected coverage, TARP), from levels in [0, 1], in panels (title,
    /// curves); the band holds a point of a calibrated curve with a probability of 95 %.
    let coverage (panels: (string * (string * float[]) list) list) : GenericChart = CalibrationPlot.coverage panels

    /// Where the axis of `shares` begins.
    let leastShare = Shares.least

    /// Shares of a whole in labelled rows, on an axis of a title: medians large, single seeds small, what is wanted as a stroke, the whole dashed.
    /// A share below `leastShare` is an arrow at the left edge.
    let shares (title: string) (rows: ShareRow list) : GenericChart = Shares.chart title rows

    /// Losses of an ensemble of density estimators against epoch, a panel for each round: training dotted, held out solid.
    let ensemble (rounds: (string * EnsembleRecord[]) list) : GenericChart = EnsembleLosses.chart rounds
