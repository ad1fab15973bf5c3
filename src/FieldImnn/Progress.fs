namespace FieldImnn

open System.Threading

/// How far a long piece of work has come.
type ProgressReport =
    {
        /// What is being done.
        Stage: string
        /// From 0 to 1.
        Fraction: float
        /// What is known so far, in a few words.
        Note: string
    }

/// Who is told of progress, and how to stop early. Work that is cancelled keeps and returns what it has.
type Progress =
    { Report: ProgressReport -> unit
      Cancellation: CancellationToken }

/// Progress for those who do not watch.
module Progress =
    /// Tells nobody and never stops.
    let silent =
        { Report = ignore
          Cancellation = CancellationToken.None }

    /// The same, with what is being done named more closely.
    let labelled label progress =
        { progress with
            Report =
                fun report ->
                    progress.Report
                        { report with
                            Stage = $"{report.Stage}, {label}" } }

    /// Reports done of total.
    let report progress stage (completed: int) (total: int) note =
        progress.Report
            { Stage = stage
              Fraction = float completed / float (max 1 total)
              Note = note }
