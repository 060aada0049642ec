using System.CommandLine;
using System.Text.Json;
using BlockMount.Core.Formats;
using BlockMount.Host.Cli;

namespace BlockMount.Host.Commands;

/// <summary><c>formats</c>: what this program knows of each format, as the formats themselves say it.</summary>
internal static class FormatsCommand
{
    public static Command Create()
    {
        var json = CommonArguments.Json();
        var command = new Command("formats", "List the formats of images: extensions, variants that create makes, what they can do.") { json };
        command.SetExamples("blockmount formats", "blockmount formats --json");
        command.SetWork((result, _) =>
        {
            var formats = FormatRegistry.All.Select(Facts).ToList();
            if (result.GetValue(json))
            {
                Console.WriteLine(JsonSerializer.Serialize(formats, JsonModels.Default.IReadOnlyListFormatFacts));
            }
            else
            {
                Print(formats);
            }

            return Task.FromResult(ExitCode.Done);
        });
        return command;
    }

    private static FormatFacts Facts(ImageFormat format) => new(
        format.Name,
        format.Extensions,
        format.Variants,
        format.CanHaveParent,
        Enum.GetValues<FormatCapabilities>()
            .Where(c => c != FormatCapabilities.None && format.Capabilities.HasFlag(c))
            .Select(static c => JsonNamingPolicy.SnakeCaseLower.ConvertName(c.ToString()))
            .ToList(),
        format.ConfigKeys
            .Select(static k => new ConfigKeyFacts(k.Name, JsonNamingPolicy.SnakeCaseLower.ConvertName(k.Kind.ToString()), $"{k.Owner.Name}.{k.Property}", k.Description))
            .ToList());

    private static void Print(IReadOnlyList<FormatFacts> formats)
    {
        Console.WriteLine($"{"format",-6}  {"extensions",-20}  {"can have a parent",-17}  variants, the usual one first");
        foreach (var f in formats)
        {
            Console.WriteLine($"{f.Name,-6}  {string.Join(' ', f.Extensions),-20}  {(f.Differencing ? "yes" : "no"),-17}  {string.Join(' ', f.Variants)}");
        }

        Console.WriteLine();
        foreach (var f in formats)
        {
            Console.WriteLine($"{f.Name}: {string.Join(' ', f.Capabilities)}");
            foreach (var key in f.ConfigKeys)
            {
                Console.WriteLine($"  {key.Name} ({key.Kind}): {key.Description}");
            }
        }
    }
}
