"""Why does a test of upstream have no counterpart here? One sentence, and the tests it is said of."""

from tests.upstream import named

REASONS: dict[str, tuple[str, ...]] = {
    "It is about histories and messages that earlier releases of Duroxide wrote in another way.": (
        *named("can_abandon_failure", ["legacy_failure_after_can_stays_terminal"]),
        *named(
            "scenarios/suborch_id_collision",
            [
                "in_flight_instance_keeps_pre_upgrade_child_id_on_replay",
                "legacy_provider_bypass_terminal_collision_routes_via_fallback_on_fresh_runtime",
            ],
        ),
    ),
    "It pins the JSON that Rust writes; here every record has an Avro schema, and changes of those are checked.": (
        *named(
            "parent_execution_id_serde_tests",
            [
                "full_event_envelope_roundtrips_parent_execution_id",
                "orchestration_started_missing_parent_execution_id_deserializes_as_none",
                "orchestration_started_none_parent_execution_id_omitted_in_json",
                "orchestration_started_with_parent_execution_id_decodes_on_pre_upgrade_node",
                "orchestration_started_with_parent_execution_id_roundtrips",
                "work_item_start_orchestration_missing_parent_execution_id_deserializes_as_none",
                "work_item_start_orchestration_none_parent_execution_id_omitted_in_json",
                "work_item_start_orchestration_with_parent_execution_id_decodes_on_pre_upgrade_node",
                "work_item_start_orchestration_with_parent_execution_id_roundtrips",
            ],
        ),
        *named(
            "continue_as_new_parent_link_serde_tests",
            [
                "continue_as_new_missing_parent_link_deserializes_as_none",
                "continue_as_new_none_parent_link_omitted_in_json",
                "continue_as_new_wire_format_unchanged_without_parent_link",
                "continue_as_new_with_parent_link_decodes_on_pre_upgrade_node",
                "continue_as_new_with_parent_link_roundtrips",
            ],
        ),
        *named(
            "tag_serde_tests",
            [
                "activity_scheduled_missing_tag_deserializes_as_none",
                "activity_scheduled_none_tag_omitted_in_json",
                "activity_scheduled_with_tag_roundtrips",
                "kv_event_kinds_backward_compat",
                "kv_event_kinds_roundtrip",
                "work_item_activity_execute_missing_tag_deserializes_as_none",
                "work_item_activity_execute_none_tag_omitted_in_json",
                "work_item_activity_execute_with_tag_roundtrips",
            ],
        ),
        *named("versioning_tests", ["serde_boundary_v2_events"]),
        *named("scenarios/replay_versioning", ["v2_events_deserialize_with_feature_flag"]),
    ),
    "The engine does not look again at what a provider hands out: the conformance suite holds it to the range.": named(
        "capability_filtering_tests", ["runtime_logs_warning_on_incompatible_abandon"]
    ),
    "A second request to stop cuts a drain short, and is made on the loop of the engine.": named(
        "shutdown_tests",
        ["concurrent_shutdown_calls_both_wait_for_active_work", "shutdown_zero_works_without_a_tokio_context"],
    ),
    "Every lease is renewed at a third of its length, which is no setting.": named(
        "lock_timeout_tests", ["custom_renewal_buffer", "orchestrator_lock_renewal_buffer_defaults"]
    ),
    "A turn takes no awaits, so nothing renews the lock on its instance.": (
        *named("lock_timeout_tests", ["orchestration_lock_renewal_prevents_expiration"]),
        *named(
            "shutdown_tests",
            [
                "graceful_shutdown_waits_for_orchestration_renewal_cleanup",
                "shutdown_renews_orchestration_lock_through_graceful_acknowledgement",
            ],
        ),
    ),
    "There is no policy that picks a version: a start names one, or takes the latest.": (
        *named("versioning_tests", ["policy_exact_pins_resolve_handler", "policy_exact_pins_start"]),
        *named(
            "registry_tests",
            [
                "test_multiple_policies",
                "test_registry_clone_shares_policy",
                "test_resolve_handler_exact_policy_missing_version",
            ],
        ),
    ),
    "A registry is made of lists of functions, which Python adds up; there is no builder to chain or to merge.": named(
        "registry_tests",
        [
            "test_activity_registry_chained_register",
            "test_activity_registry_from_registry",
            "test_activity_registry_introspection_after_merge",
            "test_activity_registry_merge",
            "test_activity_registry_merge_duplicate_errors",
            "test_activity_registry_merge_with_chained_register",
            "test_cross_crate_composition_pattern",
            "test_orchestration_registry_builder_from",
            "test_orchestration_registry_chained_register",
            "test_orchestration_registry_merge",
            "test_orchestration_registry_merge_with_chained_register",
            "test_register_all",
        ],
    ),
    "Time and ids are calls of the context and no built-in activities, so no name is taken by one.": named(
        "registry_tests", ["test_reserved_prefix_rejected", "test_user_cannot_override_builtins"]
    ),
    "A system call here is answered at once and is never pending.": named(
        "system_calls_test", ["test_cancellation_with_pending_syscall"]
    ),
    "An activity has no version.": named("registry_tests", ["test_activity_always_1_0_0_and_latest"]),
    "It asks whether Rust lets a client be cloned and sent to other threads.": named(
        "unit_tests", ["client_is_cloneable_and_thread_safe"]
    ),
    "Nothing is polled at an interval: a provider wakes a fetch that waits.": named(
        "runtime_options_test", ["test_custom_polling_frequency", "test_default_polling_frequency", "test_fast_polling"]
    ),
    "It is about the SQLite provider that Duroxide brings, beyond what it asks of every provider.": (
        *named(
            "sqlite_tests",
            [
                "test_instrumented_provider_error_paths",
                "test_instrumented_provider_management_passthrough",
                "test_instrumented_provider_semantic_equivalence",
                "test_sqlite_basic_persistence",
                "test_sqlite_file_concurrent_access",
                "test_sqlite_provider_basic",
                "test_sqlite_provider_timer_queue",
                "test_sqlite_provider_transactional",
            ],
        ),
        *named(
            "provider_stress_test_validation",
            ["test_large_payload_stress_infrastructure", "test_stress_infrastructure_minimal"],
        ),
    ),
    "In memory of two processes there is nothing to recover: it shows that SQLite without a file forgets.": named(
        "recovery_tests", ["recovery_across_restart_sqlite_memory"]
    ),
    "It is about stamps with which earlier releases of Duroxide marked a history.": (
        *named("runtime_version_warnings", ["invalid_stamp_warns_on_every_turn"]),
        *named(
            "cancellation_corner_cases",
            [
                "legacy_diagnostic_template_rejects_non_numeric_set_elements",
                "legacy_diagnostic_template_rejects_overflow_in_the_other_set",
                "legacy_fingerprint_normalizes_only_named_numeric_diagnostic_sets",
                "legacy_fingerprint_retains_history_and_live_decision_changes",
                "ms10_legacy_hazard_remains_detectable_after_upgrade",
                "ms8_gate_boundary_prerelease_build_and_invalid_are_replay_stable",
                "q12_continue_as_new_retains_policy_and_fresh_execution_selects_its_own",
                "q14_invalid_or_missing_stamp_retains_legacy_policy",
                "q14_missing_version_field_is_a_deserialization_error_not_legacy",
                "q14_missing_version_is_poisoned_by_sqlite_dispatcher",
                "sqlite_legacy_hazard_keeps_the_retained_failure",
                "sqlite_legacy_safe_history_keeps_old_decisions",
                "sqlite_q13_legacy_continue_as_new_gets_new_execution_policy",
            ],
        ),
    ),
}
