//! The limits of a whole policy, at the limit and one beyond.

use policy::limits::{EXCLUSIONS, REFUSALS, RULES};
use policy::{ExclusionText, RuleText};
use wire::v2::{Bundle, BundleContent, BundleError, BundleExclusion, BundleRule, Revision};

fn rules(count: usize) -> BundleContent {
    let text = RuleText { ip: Some("1.1.1.1".into()), ..RuleText::default() };
    let rules = (1..=count as u64).map(|id| BundleRule::new(id, text.clone())).collect();
    BundleContent { rules, ..BundleContent::default() }
}

#[test]
fn rules_of_a_policy() {
    assert_eq!(rules(RULES).to_policy().unwrap().rules.len(), RULES);
    let beyond = Bundle::seal(Revision::default(), 0, rules(RULES + 1)).to_policy();
    assert_eq!(beyond, Err(BundleError::TooManyRules));
    assert!(beyond.unwrap_err().to_string().contains("more than 100000 rules"));
}

#[test]
fn exclusions_of_a_policy() {
    let content = |count: usize| {
        let text = ExclusionText { rl_id: "*".into(), ..ExclusionText::default() };
        let exclusions = (1..=count as u64).map(|id| BundleExclusion::new(id, &text)).collect();
        BundleContent { exclusions, ..BundleContent::default() }
    };
    assert_eq!(content(EXCLUSIONS).to_policy().unwrap().exclusions.len(), EXCLUSIONS);
    assert_eq!(content(EXCLUSIONS + 1).to_policy(), Err(BundleError::TooManyExclusions));
}

#[test]
fn refused_entries_are_named_up_to_a_number_and_counted_beyond() {
    let block_list = vec!["x".to_owned(); REFUSALS + 3];
    let content = BundleContent { block_list, ..BundleContent::default() };
    let Err(BundleError::Invalid(refused)) = content.to_policy() else { panic!("is accepted") };
    assert_eq!(refused.len(), REFUSALS + 1);
    assert_eq!(refused[REFUSALS - 1].field, format!("bl[{}]", REFUSALS - 1));
    assert!(refused[REFUSALS].reason.starts_with("3 further entries"));
}
