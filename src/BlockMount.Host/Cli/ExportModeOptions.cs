using System.CommandLine;
using BlockMount.Core.Errors;
using BlockMount.Host.Images;

namespace BlockMount.Host.Cli;

/// <summary>The options with which exports of one host differ in what they allow.</summary>
internal sealed class ExportModeOptions
{
    private readonly Option<string[]> _modes = new("--mode")
    {
        Description = "Mode of one export (repeatable); overlay is one that is thrown away. --read-only and --overlay hold for all others",
        HelpName = "NAME=ro|rw|overlay",
    };

    private readonly Option<bool> _snapshot = new("--snapshot", "-s") { Description = "The same as --overlay temp" };

    public void AddTo(Command command)
    {
        command.Add(_modes);
        command.Add(_snapshot);
    }

    /// <summary>The exports named with <c>--mode</c>.</summary>
    /// <exception cref="DiskException">One is not NAME=MODE, or a name stands twice.</exception>
    public IReadOnlyDictionary<string, ImageMode> Read(ParseResult result)
    {
        var modes = new Dictionary<string, ImageMode>(StringComparer.Ordinal);
        foreach (var text in result.GetValue(_modes) ?? [])
        {
            // A name may hold an equals sign, a mode does not.
            var mark = text.LastIndexOf('=');
            ImageMode mode = text[(mark + 1)..] switch
            {
                "ro" when mark >= 0 => ImageMode.ReadOnly,
                "rw" when mark >= 0 => ImageMode.ReadWrite,
                "overlay" when mark >= 0 => ImageMode.Overlay,
                _ => throw new DiskException(ErrorKind.InvalidArgument, $"--mode {text}: it must be an export's name, '=', and ro, rw or overlay."),
            };
            if (!modes.TryAdd(text[..mark], mode))
            {
                throw new DiskException(ErrorKind.InvalidArgument, $"--mode {text}: export '{text[..mark]}' has a mode already; give one.");
            }
        }

        return modes;
    }

    /// <summary>What holds for all exports, with <c>--snapshot</c>.</summary>
    /// <exception cref="DiskException">It contradicts another option.</exception>
    public ImageRequest Apply(ParseResult result, ImageRequest all)
    {
        if (!result.GetValue(_snapshot))
        {
            return all;
        }

        return all.Chain.ReadOnly || all.Overlay is not null and not ImageRequest.TemporaryOverlay
            ? throw new DiskException(
                ErrorKind.InvalidArgument, $"--snapshot throws writes away and {(all.Chain.ReadOnly ? "--read-only refuses them" : "--overlay keeps them")}; give one of the two.")
            : all.With(ImageMode.Overlay);
    }
}
