namespace FieldImnn

open FieldImnn.Core
open FieldImnn.Core.Fields
open TorchSharp

/// A monotone local transform of a Gaussian field, d = T_θ(g), g of power P_θ.
type TransformedField =
    {
        /// The spectrum's, and then those that the transform has for itself.
        Parameters: string[]
        /// g, whose mean over the box is random.
        Gaussian: SpectrumField
        Transform: LocalTransform
        /// The place in θ of each of the transform's parameters.
        Places: int[]
    }

/// Fields behind a local transform.
module TransformedField =
    /// The transform of a field of a spectrum. Where both have a parameter of one name it is one parameter. The mean of g over the box has the
    /// power of the largest waves (`SpectrumField.withMean`): were it zero for certain, one field would tell the transform exactly.
    let create (transform: LocalTransform) (gaussian: SpectrumField) : TransformedField =
        if gaussian.Field.Convention <> ModeConvention.Ideal then
            raise (SettingException("field behind a local transform", "Ideal modes, which are Gaussian", "Published"))

        let own = transform.Parameters |> Array.except gaussian.Parameters
        let all = Array.append gaussian.Parameters own

        { Parameters = all
          Gaussian = SpectrumField.withMean gaussian
          Transform = transform
          Places = transform.Parameters |> Array.map (fun name -> Array.findIndex ((=) name) all) }

    /// The spectrum's parameters of θ (…, p).
    let internal ofSpectrum model (theta: Tensor) =
        theta.narrow (-1L, 0L, int64 model.Gaussian.Parameters.Length)

    /// The transform's parameters of θ (b, p), each (b, 1, …) of the field's number of axes.
    let internal ofTransform model (theta: Tensor) : Tensor[] =
        let shape =
            Array.append [| -1L |] (Array.create model.Gaussian.Field.Grid.Dimensions 1L)

        model.Places |> Array.map (fun a -> theta.select(1L, int64 a).reshape shape)

    let private field model =
        let own theta =
            [| SpectrumField.logPower model.Gaussian (ofSpectrum model theta); theta |]

        ByRow.fields model.Gaussian.Field.Grid.Pixels own (fun made noise ->
            let g = SpectrumField.synthesise model.Gaussian made[0] noise
            model.Transform.Forward (ofTransform model (made[1].``to``(noise.dtype, noise.device))) g)

    /// d and the derivatives of its pixels by g and by the transform's parameters, all as g (n, …), from θ (p): every pixel has a copy of the
    /// parameters, so that one backward pass gives all.
    let internal pointwise model (theta: Tensor) (g: Tensor) : struct (Tensor * Tensor * Tensor[]) =
        use _ = torch.enable_grad ()
        let leaf (t: Tensor) = t.detach().clone().requires_grad_ true
        let x = leaf g

        let t =
            ofTransform model (theta.unsqueeze(0L).``to``(g.dtype, g.device))
            |> Array.map (fun t -> leaf (t.expand_as g))

        let d = model.Transform.Forward t x
        let unused = torch.zeros_like g

        let slopes =
            torch.autograd.grad ([| d |], Array.append [| x |] t, [| torch.ones_like d |], allow_unused = true)
            |> Seq.map (fun s -> if isNull s || s.IsInvalid then unused else s)
            |> Seq.toArray

        struct (d.detach (), slopes[0], slopes[1..])

    let private fieldWithTangents model (theta: Tensor) (noise: Tensor) =
        Tensors.scoped2 (fun () ->
            let lnP, slopes =
                SpectrumField.logPowerWithSlopes model.Gaussian (ofSpectrum model (theta.cpu ()))

            let struct (g, dg) =
                SpectrumField.synthesiseWithTangents model.Gaussian (lnP.detach ()) (slopes.detach ()) noise

            let struct (d, byG, byOwn) = pointwise model theta g
            let through = dg * byG.unsqueeze 1L

            let derivative a =
                let direct =
                    Array.tryFindIndex ((=) a) model.Places |> Option.map (fun k -> byOwn[k])

                if a >= model.Gaussian.Parameters.Length then
                    direct.Value
                else
                    let spectrum = through.select (1L, int64 a)
                    direct |> Option.map (fun t -> t + spectrum) |> Option.defaultValue spectrum

            struct (d, torch.stack (Array.init model.Parameters.Length derivative, 1L)))

    /// The simulator. The spectrum is evaluated on the CPU, in double precision, wherever the fields are.
    let simulator name model : Simulator =
        { SpectrumField.simulator name model.Gaussian with
            Parameters = model.Parameters
            Field = field model
            Tangents = Some(fieldWithTangents model) }
