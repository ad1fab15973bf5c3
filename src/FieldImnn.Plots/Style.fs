namespace FieldImnn.Plots
