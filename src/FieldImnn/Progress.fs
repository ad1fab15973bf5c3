namespace FieldImnn

open System.Threading

/// How far a long piece of work has come.
type ProgressReport =
    {
        /// What is being done.
        Stage: string
        /// So many of `Of`, in the stage's own units: steps, simulations, epochs.
        Step: int
        Of: int
        /// What was measured, by name: detF, loss, acceptance; docs/outputs.md lists them. Not all are finite.
        Numbers: (string * float) list
        /// What is known so far, in a few words for people.
        Note: string
    }

    /// From 0 to 1.
    member this.Fraction = float this.Step / float (max 1 this.Of)

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

    /// Reports completed of total, what was measured, and a note.
    let report progress stage (completed: int) (total: int) numbers note =
        progress.Report
            { Stage = stage
              Step = completed
              Of = total
              Numbers = numbers
              Note = note }

    /// Reports something that is told once, when it has ended.
    let news progress stage numbers note = report progress stage 1 1 numbers note
