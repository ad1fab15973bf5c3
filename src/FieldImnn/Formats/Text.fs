namespace FieldImnn

open System
open System.Globalization
open System.Security.Cryptography
open System.Text
open FieldImnn.Core

/// Text of files, and numbers in it, whatever the language of the machine.
module internal Text =
    /// A file's text, UTF-8 with or without a mark of the order of its bytes.
    let decoded file : string =
        let bytes = Files.readAllBytes file

        try
            UTF8Encoding(false, true).GetString(bytes).TrimStart '\uFEFF'
        with :? ArgumentException as fault ->
            raise (StoreException(file, "text in UTF-8", "other bytes", fault))

    /// The text as a name that is one of a file everywhere: what is no letter, digit, -, _ or . is a -.
    let fileName (text: string) =
        String.map
            (fun c ->
                if Char.IsLetterOrDigit c || c = '-' || c = '_' || c = '.' then
                    c
                else
                    '-')
            text

    /// Twelve digits that a text is known by in the name of a file: the first of its SHA-256, in hexadecimal.
    let digest (text: string) =
        (Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes text))).Substring(0, 12).ToLowerInvariant()

    /// A number as it comes back, to the last bit.
    let number (value: float) =
        value.ToString("R", CultureInfo.InvariantCulture)
