using System.CommandLine;

namespace BlockMount.Host.Commands;

/// <summary>Arguments and options that several commands share.</summary>
internal static class CommonArguments
{
    public static Argument<string> Image(string name = "IMAGE") =>
        new(name) { Description = "An image file, a block device, machine.vbox or machine.vbox:DISK; a leaf image is enough" };

    public static Argument<string> Export() =>
        new("NAME") { Description = "An export of a running host, its image, or PID/NAME where several hosts have one of that name; blockmount list shows them" };

    public static Argument<string> Host() =>
        new("HOST") { Description = "A running host: its name, process number, or one of its exports or images; blockmount list shows them" };

    public static Option<bool> Live() =>
        new("--live") { Description = "The disk is in use: the running host that serves it does the work, and the name is an export's or an image's" };

    public static Option<bool> Json() => new("--json") { Description = "Print one JSON document" };
}
