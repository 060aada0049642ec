using System.CommandLine;

namespace BlockMount.Host.Commands;

/// <summary>Arguments and options that several commands share.</summary>
internal static class CommonArguments
{
    public static Argument<string> Image(string name = "IMAGE") =>
        new(name) { Description = "An image file, a block device, machine.vbox or machine.vbox:DISK; a leaf image is enough" };

    public static Option<bool> Json() => new("--json") { Description = "Print one JSON document" };
}
