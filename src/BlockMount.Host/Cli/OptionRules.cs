using System.CommandLine;

namespace BlockMount.Host.Cli;

/// <summary>Rules that hold for several options.</summary>
internal static class OptionRules
{
    /// <summary>Refuses an empty text, which a script's unset variable becomes.</summary>
    public static TOption NotEmpty<TOption>(this TOption option)
        where TOption : Option
    {
        option.Validators.Add(static result =>
        {
            if (result.Tokens.Any(static t => t.Value.Length == 0))
            {
                result.AddError($"{result.Option.Name} is empty; give it a value, or leave it out.");
            }
        });
        return option;
    }
}
