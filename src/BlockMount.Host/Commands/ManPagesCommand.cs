using System.CommandLine;
using System.Globalization;
using System.Reflection;
using System.Text;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Host.Documentation;

namespace BlockMount.Host.Commands;

/// <summary><c>man-pages</c>, hidden: writes the manual pages, for packages.</summary>
internal static class ManPagesCommand
{
    private const string DateVariable = "SOURCE_DATE_EPOCH";

    public static Command Create()
    {
        var directory = new Argument<string>("DIR") { Description = $"A folder, made where it is missing; pages in it are written anew, with the date of {DateVariable}, else of today" };
        var command = new Command("man-pages", "Write the manual pages of this program and of each command.") { directory };
        command.Hidden = true;
        command.SetExamples("blockmount man-pages /usr/local/share/man/man1");
        command.SetWork(async (result, cancellation) =>
        {
            var folder = Directory.CreateDirectory(result.GetRequiredValue(directory)).FullName;
            var date = DateOf(Environment.GetEnvironmentVariable(DateVariable));
            var version = VersionOf(typeof(ManPagesCommand).Assembly);
            var pages = CommandPage.Of(result.RootCommandResult.Command).All().ToList();
            foreach (var page in pages)
            {
                await File.WriteAllTextAsync(Path.Combine(folder, page.PageName + ".1"), ManPage.Write(page, pages, date, version), new UTF8Encoding(), cancellation);
            }

            return ExitCode.Done;
        });
        return command;
    }

    private static DateOnly DateOf(string? seconds)
    {
        if (seconds is null or "")
        {
            return DateOnly.FromDateTime(DateTime.UtcNow);
        }

        // The year 9999 is the last one that a date here can have.
        const long last = 253_402_300_799;
        return long.TryParse(seconds, NumberStyles.None, CultureInfo.InvariantCulture, out var value) && value <= last
            ? DateOnly.FromDateTime(DateTimeOffset.FromUnixTimeSeconds(value).UtcDateTime)
            : throw new DiskException(ErrorKind.InvalidArgument, $"{DateVariable} is '{seconds}'; it must be whole seconds since 1970, 0 to {last}.");
    }

    private static string VersionOf(Assembly assembly) =>
        (assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "").Split('+')[0];
}
